/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges addresses and URLs. All addresses are compared as 16 bytes (IPv4 mapped), so that ::ffff:10.0.0.1 and 10.0.0.1 are one. An
 * address is good when the operator's list has it; else an IPv4 address is good unless it is in the table of special ranges, and
 * an IPv6 address only inside 2000::/3 (what IANA has given out for global use) and outside that table. Anything else fails closed,
 * scoped addresses too. Names are not judged here but by the addresses that they resolve to, at the moment of connecting.
 */
#include "common/http/netguard.h"

#include <netinet/in.h>
#include <string.h>

#include "common/http/url.h"

#define V4(a, b, c, d) { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, (a), (b), (c), (d) }
#define MAPPED_BITS 96

static const struct netguard_range refused[] = {
	{ V4(0, 0, 0, 0), 96 + 8 },       /* this network */
	{ V4(10, 0, 0, 0), 96 + 8 },      /* private */
	{ V4(100, 64, 0, 0), 96 + 10 },   /* carrier-grade NAT */
	{ V4(127, 0, 0, 0), 96 + 8 },     /* loopback */
	{ V4(168, 63, 129, 16), 96 + 32 }, /* Azure's host agent: public by number, internal by use */
	{ V4(169, 254, 0, 0), 96 + 16 },  /* link-local; metadata services of clouds */
	{ V4(172, 16, 0, 0), 96 + 12 },   /* private */
	{ V4(192, 0, 0, 0), 96 + 24 },    /* IETF protocols */
	{ V4(192, 0, 2, 0), 96 + 24 },    /* documentation */
	{ V4(192, 88, 99, 0), 96 + 24 },  /* 6to4 relays */
	{ V4(192, 168, 0, 0), 96 + 16 },  /* private */
	{ V4(198, 18, 0, 0), 96 + 15 },   /* benchmarking */
	{ V4(198, 51, 100, 0), 96 + 24 }, /* documentation */
	{ V4(203, 0, 113, 0), 96 + 24 },  /* documentation */
	{ V4(224, 0, 0, 0), 96 + 4 },     /* multicast */
	{ V4(240, 0, 0, 0), 96 + 4 },     /* reserved, broadcast */
	{ { 0x20, 0x01, 0x00 }, 23 },             /* Teredo, ORCHID, benchmarking */
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32 },       /* documentation */
	{ { 0x20, 0x02 }, 16 },                   /* 6to4 */
	{ { 0x3f, 0xff, 0x00 }, 20 },             /* documentation */
};
static const struct netguard_range mapped = { V4(0, 0, 0, 0), MAPPED_BITS };
static const struct netguard_range global_v6 = { { 0x20 }, 3 };

static bool in_range(const struct netguard_range *r, const uint8_t addr[16])
{
	size_t whole = (size_t)r->bits / 8;
	unsigned rest = (unsigned)r->bits % 8;

	if (memcmp(r->addr, addr, whole) != 0)
		return false;
	return rest == 0 || ((r->addr[whole] ^ addr[whole]) >> (8 - rest)) == 0;
}

static bool is_allow_listed(const struct netguard *g, const uint8_t addr[16])
{
	for (size_t i = 0; i < g->nallow; i++)
		if (in_range(&g->allow[i], addr))
			return true;
	return false;
}

static bool allows_bytes(const struct netguard *g, const uint8_t addr[16])
{
	if (is_allow_listed(g, addr))
		return true;
	if (!in_range(&mapped, addr) && !in_range(&global_v6, addr))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		if (in_range(&refused[i], addr))
			return false;
	return true;
}

void netguard_init(struct netguard *g)
{
	memset(g, 0, sizeof(*g));
}

/* Reads one address by way of the URL reader, so that both have the same idea of what an address is; unusual IPv4 spellings are refused. */
static int read_address(struct str text, uint8_t ret[16], bool *ret_v4, struct err *err)
{
	bool v4 = str_find_char(text, ':') < 0;
	char url[80];
	struct url u;
	size_t dots = 0;

	for (size_t i = 0; i < text.n; i++)
		dots += text.p[i] == '.';
	if (text.n == 0 || text.n > 45 || (v4 && dots != 3) || str_find_char(text, '/') >= 0)
		return err_set(err, ERR_INVALID, "wanted an address range such as 10.0.0.0/8 or fd00::/8");
	memcpy(url, v4 ? "http://" : "http://[", 8);
	size_t n = v4 ? 7 : 8;
	memcpy(url + n, text.p, text.n);
	n += text.n;
	if (!v4)
		url[n++] = ']';
	if (url_split((struct str){ url, n }, &u, NULL) || u.kind != (v4 ? URL_HOST_IPV4 : URL_HOST_IPV6) ||
	    u.host.n != text.n)
		return err_set(err, ERR_INVALID, "wanted an address range such as 10.0.0.0/8 or fd00::/8");
	memcpy(ret, u.addr, 16);
	*ret_v4 = v4;
	return 0;
}

int netguard_allow(struct netguard *g, struct str cidr, struct err *err)
{
	struct netguard_range r = { .bits = 128 };
	ssize_t slash = str_find_char(cidr, '/');
	uint64_t bits;
	bool v4;

	if (g->nallow == ARRAY_LEN(g->allow))
		return err_set(err, ERR_OUT_OF_RANGE, "more than %zu allowed ranges", ARRAY_LEN(g->allow));
	int rc = read_address(slash < 0 ? cidr : str_sub(cidr, 0, (size_t)slash), r.addr, &v4, err);
	if (rc)
		return rc;
	if (slash >= 0) {
		if (str_u64(str_sub(cidr, (size_t)slash + 1, cidr.n), 0, v4 ? 32 : 128, &bits))
			return err_set(err, ERR_INVALID, "the prefix length must be 0 to %d", v4 ? 32 : 128);
		r.bits = (int)bits + (v4 ? MAPPED_BITS : 0);
	}
	g->allow[g->nallow++] = r;
	return 0;
}

bool netguard_allows_addr(const struct netguard *g, const struct sockaddr *sa)
{
	uint8_t addr[16] = V4(0, 0, 0, 0);

	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof(in));
		memcpy(addr + 12, &in.sin_addr, 4);
		return allows_bytes(g, addr);
	}
	if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof(in6));
		if (in6.sin6_scope_id != 0)
			return false;
		memcpy(addr, &in6.sin6_addr, 16);
		return allows_bytes(g, addr);
	}
	return false;
}

int netguard_check_url(const struct netguard *g, struct str url, struct err *err)
{
	struct url u;
	bool literal, listed;

	int rc = url_split(url, &u, err);
	if (rc)
		return rc;
	if (g->https_only && !u.https)
		return err_set(err, ERR_INVALID, "the URL must begin with https://");
	literal = u.kind != URL_HOST_NAME;
	listed = literal && is_allow_listed(g, u.addr);
	if (literal && !allows_bytes(g, u.addr))
		return err_set(err, ERR_ADDRESS_REFUSED, "the address of the URL is not publicly routable");
	if (u.port != 80 && u.port != 443 && u.port < 1024 && !listed)
		return err_set(err, ERR_ADDRESS_REFUSED, "the port must be 80, 443 or at least 1024");
	return 0;
}
