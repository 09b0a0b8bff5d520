/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault points: named places where a test can order a failure. Compiled in only with -DMR_FAULTS (all builds but release);
 * otherwise FAULT() is the constant 0 and costs nothing.
 *
 * MILLRACE_FAULTS="accept.after_commit=exit@3,db.send=error@1+" : the action at the third hit; from the first hit on. Actions: `exit` (as
 * kill -9: _exit(137)), `abort`, `stop` (SIGSTOP to itself), `error` (FAULT returns true), `sleep:MS`.
 * MILLRACE_FAULTS_LOG=FILE appends "name\n" per hit, so that a test can see that a point was reached.
 */
#ifndef MR_COMMON_FAULT_H
#define MR_COMMON_FAULT_H

#include "common/base.h"

#ifdef MR_FAULTS
bool fault_hit(const char *name);
#define FAULT(name) fault_hit(name)
#else
#define FAULT(name) false
#endif

#endif
