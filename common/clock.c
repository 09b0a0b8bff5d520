/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two clocks, and the three texts of time that Millrace reads or writes: RFC 3339, HTTP dates, durations of the configuration.
 *
 * Days and dates are converted by arithmetic on the proleptic Gregorian calendar (Hinnant's "days from civil"), so no C library
 * function with a time zone or a static buffer is involved. The readers take exactly the form that their standard names and
 * refuse the rest; a leap second (second 60) is read as the second after, as POSIX does.
 */
#include "common/clock.h"

#include <string.h>
#include <time.h>

#include "common/buf.h"
#include "common/err.h"

#define US 1000000
#define DAY_S 86400
#define YEAR_9999_END_S 253402300800 /* 10000-01-01T00:00:00Z */

struct civil {
	int year, month, day, hour, minute, second, weekday /* 0: Sunday */;
};

static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
static const char weekdays[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int64_t clock_wall_us(void)
{
	return (int64_t)(read_clock(CLOCK_REALTIME) / 1000);
}

uint64_t clock_mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_mono_ms(void)
{
	return clock_mono_ns() / 1000000;
}

/* Days since 1970-01-01. Years are counted from March, so that the leap day is a year's last. */
static int64_t days_of(int year, int month, int day)
{
	int y = year - (month <= 2);
	int era = y / 400, year_of_era = y % 400; /* y is never negative here */
	int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
	return (int64_t)era * 146097 + day_of_era - 719468;
}

static struct civil civil_of(int64_t wall_s)
{
	int64_t days = wall_s / DAY_S, rest = wall_s % DAY_S;
	int64_t z = days + 719468;
	int64_t era = z / 146097, doe = z % 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;
	int month = (int)(mp < 10 ? mp + 3 : mp - 9);
	return (struct civil){
		.year = (int)(yoe + era * 400 + (month <= 2)),
		.month = month,
		.day = (int)(doy - (153 * mp + 2) / 5 + 1),
		.hour = (int)(rest / 3600),
		.minute = (int)(rest / 60 % 60),
		.second = (int)(rest % 60),
		.weekday = (int)((days + 4) % 7),
	};
}

static int days_in_month(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	return days[month - 1] + (month == 2 && leap);
}

/* What is outside 1970–9999 has no form of 24 bytes and is written as the nearest end. */
static int64_t clamp_us(int64_t wall_us)
{
	return MAX((int64_t)0, MIN(wall_us, (int64_t)YEAR_9999_END_S * US - 1));
}

/* v as `width` digits. */
static char *put(char *p, int v, int width)
{
	for (int i = width - 1; i >= 0; i--, v /= 10)
		p[i] = (char)('0' + v % 10);
	return p + width;
}

int clock_rfc3339(struct buf *b, int64_t wall_us)
{
	wall_us = clamp_us(wall_us);
	struct civil c = civil_of(wall_us / US);
	char text[CLOCK_RFC3339_LEN] = "0000-00-00T00:00:00.000Z";
	put(text, c.year, 4);
	put(text + 5, c.month, 2);
	put(text + 8, c.day, 2);
	put(text + 11, c.hour, 2);
	put(text + 14, c.minute, 2);
	put(text + 17, c.second, 2);
	put(text + 20, (int)(wall_us % US / 1000), 3);
	return buf_add(b, text, sizeof(text));
}

/* Takes exactly `width` digits off the front. */
static bool take_digits(struct str *s, size_t width, int min, int max, int *ret)
{
	uint64_t v;
	if (s->n < width || str_u64(str_sub(*s, 0, width), (uint64_t)min, (uint64_t)max, &v) < 0)
		return false;
	*ret = (int)v;
	*s = str_sub(*s, width, s->n);
	return true;
}

static bool take_char(struct str *s, char c)
{
	if (!s->n || (s->p[0] != c && s->p[0] != (c | 0x20))) /* RFC 3339 allows t and z in lower case */
		return false;
	*s = str_sub(*s, 1, s->n);
	return true;
}

/* .123456789 → microseconds; nothing when there is no dot. */
static bool take_fraction(struct str *s, int64_t *ret_us)
{
	*ret_us = 0;
	if (!s->n || s->p[0] != '.')
		return true;
	size_t n = 1;
	int64_t scale = US / 10;
	for (; n < s->n && s->p[n] >= '0' && s->p[n] <= '9'; n++, scale /= 10)
		*ret_us += (s->p[n] - '0') * scale;
	*s = str_sub(*s, n, s->n);
	return n > 1 && n <= 10;
}

/* Z, +hh:mm or -hh:mm → seconds to subtract. */
static bool take_offset(struct str *s, int64_t *ret_s)
{
	*ret_s = 0;
	if (take_char(s, 'Z'))
		return true;
	if (!s->n || (s->p[0] != '+' && s->p[0] != '-'))
		return false;
	int hours, minutes, sign = s->p[0] == '-' ? -1 : 1;
	*s = str_sub(*s, 1, s->n);
	if (!take_digits(s, 2, 0, 23, &hours) || !s->n || s->p[0] != ':')
		return false;
	*s = str_sub(*s, 1, s->n);
	if (!take_digits(s, 2, 0, 59, &minutes))
		return false;
	*ret_s = sign * (hours * 3600 + minutes * 60);
	return true;
}

static bool take_exact(struct str *s, char c)
{
	if (!s->n || s->p[0] != c)
		return false;
	*s = str_sub(*s, 1, s->n);
	return true;
}

static bool take_time_of_day(struct str *s, struct civil *c)
{
	return take_digits(s, 2, 0, 23, &c->hour) && take_exact(s, ':') && take_digits(s, 2, 0, 59, &c->minute) &&
	       take_exact(s, ':') && take_digits(s, 2, 0, 60, &c->second);
}

static int64_t seconds_of(const struct civil *c)
{
	return days_of(c->year, c->month, c->day) * DAY_S + c->hour * 3600 + c->minute * 60 + c->second;
}

int clock_parse_rfc3339(struct str s, int64_t *ret_wall_us)
{
	struct civil c = { 0 };
	int64_t us, offset;
	if (!take_digits(&s, 4, 1970, 9999, &c.year) || !take_exact(&s, '-') || !take_digits(&s, 2, 1, 12, &c.month) ||
	    !take_exact(&s, '-') || !take_digits(&s, 2, 1, days_in_month(c.year, c.month), &c.day))
		return -ERR_INVALID;
	if (!take_char(&s, 'T') || !take_time_of_day(&s, &c) || !take_fraction(&s, &us) || !take_offset(&s, &offset) || s.n)
		return -ERR_INVALID;
	int64_t wall_s = seconds_of(&c) - offset;
	if (wall_s < 0 || wall_s >= YEAR_9999_END_S)
		return -ERR_INVALID;
	*ret_wall_us = wall_s * US + us;
	return 0;
}

int clock_http_date(struct buf *b, int64_t wall_us)
{
	struct civil c = civil_of(clamp_us(wall_us) / US);
	return buf_printf(b, "%s, %02d %s %04d %02d:%02d:%02d GMT", weekdays[c.weekday], c.day, months[c.month - 1], c.year,
			  c.hour, c.minute, c.second);
}

static bool take_name(struct str *s, const char (*names)[4], int n, int *ret)
{
	for (int i = 0; i < n; i++) {
		if (str_has_prefix(*s, str_from(names[i]))) {
			*s = str_sub(*s, 3, s->n);
			*ret = i;
			return true;
		}
	}
	return false;
}

int clock_parse_http_date(struct str s, int64_t *ret_wall_us)
{
	struct civil c = { 0 };
	int month;
	if (!take_name(&s, weekdays, 7, &c.weekday) || !take_exact(&s, ',') || !take_exact(&s, ' ') ||
	    !take_digits(&s, 2, 1, 31, &c.day) || !take_exact(&s, ' ') || !take_name(&s, months, 12, &month))
		return -ERR_INVALID;
	if (!take_exact(&s, ' ') || !take_digits(&s, 4, 1970, 9999, &c.year) || !take_exact(&s, ' ') ||
	    !take_time_of_day(&s, &c) || !str_eq_z(s, " GMT"))
		return -ERR_INVALID;
	c.month = month + 1;
	if (c.day > days_in_month(c.year, c.month)) /* a wrong weekday does no harm: Retry-After means the moment */
		return -ERR_INVALID;
	*ret_wall_us = seconds_of(&c) * US;
	return 0;
}

int clock_parse_duration_ms(struct str s, int64_t min_ms, int64_t max_ms, int64_t *ret_ms)
{
	static const struct {
		const char *unit;
		int64_t ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 }, { "", 1000 } };
	size_t digits = 0;
	while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
		digits++;
	int64_t v, ms;
	if (str_i64(str_sub(s, 0, digits), 0, INT64_MAX, &v) < 0)
		return -ERR_INVALID;
	struct str unit = str_sub(s, digits, s.n);
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (!str_eq_z(unit, units[i].unit))
			continue;
		if (__builtin_mul_overflow(v, units[i].ms, &ms) || ms < min_ms || ms > max_ms)
			return -ERR_INVALID;
		*ret_ms = ms;
		return 0;
	}
	return -ERR_INVALID;
}
