/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which URLs and addresses an outgoing call that a tenant chose may reach. Refuses all that is not globally routable (RFC 6890 and
 * the IANA special-purpose registries), judged on the address really used; an operator's allow-list of ranges comes first.
 */
#ifndef MR_COMMON_HTTP_NETGUARD_H
#define MR_COMMON_HTTP_NETGUARD_H

#include "common/err.h"

struct sockaddr;

struct netguard_range {
	uint8_t addr[16]; /* IPv4 as ::ffff:a.b.c.d */
	int bits;         /* 0..128 */
};

struct netguard {
	struct netguard_range allow[64];
	size_t nallow;
	bool https_only;
};

void netguard_init(struct netguard *g);
/* "10.0.0.0/8", "127.0.0.1", "fd00::/8". -ERR_INVALID, -ERR_OUT_OF_RANGE when there are too many. */
int netguard_allow(struct netguard *g, struct str cidr, struct err *err);
bool netguard_allows_addr(const struct netguard *g, const struct sockaddr *sa);
/* Scheme, length, credentials, port, characters, address literals. Names are judged when they are resolved. */
int netguard_check_url(const struct netguard *g, struct str url, struct err *err);

#endif
