/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of AWS Signature Version 4, written from its description (AWS: "Create a signed AWS API request") and not from any client: a
 * request as it came over the wire is right or not. For services other than s3.
 */
#ifndef MR_TESTS_LIB_SIGV4_H
#define MR_TESTS_LIB_SIGV4_H

#include "common/str.h"

/* True when the request, head and body, carries the signature that this secret key makes, and signs what must be signed. */
bool sigv4_holds(struct str request, const char *secret_key);

#endif
