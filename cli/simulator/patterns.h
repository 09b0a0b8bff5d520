/* SPDX-License-Identifier: Apache-2.0 */
/* Dates, amounts, numbers and addresses in running text. Pure; each finder takes what it found off the front of *rest.
 */
#ifndef MR_CLI_SIMULATOR_PATTERNS_H
#define MR_CLI_SIMULATOR_PATTERNS_H

#include "common/str.h"

struct found {
	struct str text;      /* as it stands in the text */
	double value;         /* of an amount or a number */
	int year, month, day; /* of a date; day and month 1 when not given */
};

bool find_date(struct str *rest, struct found *ret);   /* 2007-06-29, 29 June 2007, June 29, 2007, June 2007 */
bool find_amount(struct str *rest, struct found *ret); /* $1,200.50, EUR 30, 30 dollars, 50% */
bool find_number(struct str *rest, struct found *ret); /* 1,200.50 */
bool find_email(struct str *rest, struct found *ret);
bool find_url(struct str *rest, struct found *ret);

#endif
