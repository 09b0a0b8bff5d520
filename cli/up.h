/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `millrace up`: everything on this machine with one command: a private PostgreSQL, the schema, keys, a simulated
 * provider where there is no real one, api and worker processes; looked after until Ctrl-C. `millrace sample`: a batch
 * of real documents through a running service.
 */
#ifndef MR_CLI_UP_H
#define MR_CLI_UP_H

/* argv[0] is the command's name. They return the exit status. */
int up_main(int argc, char **argv);
int sample_main(int argc, char **argv);

#endif
