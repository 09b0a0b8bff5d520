/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which processes can be seen from here: those of the same boot of the same kernel, in the same namespace of process ids. Of such a one it can be known
 * that it is gone, where of any other that is silent one can only wait.
 */
#ifndef MR_COMMON_BOOT_H
#define MR_COMMON_BOOT_H

#include "common/str.h"

#define BOOT_TEXT_MAX 128

/* "UUID pid:[inode]", the same for all processes that see each other, and for no others; empty where the system does not tell. */
struct str boot_text(char out[BOOT_TEXT_MAX]);
/* False: there is surely no process with that pid. */
bool boot_has_process(int pid);

#endif
