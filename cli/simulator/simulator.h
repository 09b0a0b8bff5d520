/* SPDX-License-Identifier: Apache-2.0 */
/* `millrace simulator`: a provider that speaks OpenAI over real HTTP, with answers about the documents and faults to
 * order. */
#ifndef MR_CLI_SIMULATOR_SIMULATOR_H
#define MR_CLI_SIMULATOR_SIMULATOR_H

int simulator_main(int argc, char **argv);

#endif
