/* SPDX-License-Identifier: Apache-2.0 */
/* Frees what files leave behind: every files.sweep, in small steps. */
#ifndef MR_API_FILES_FILE_SWEEP_H
#define MR_API_FILES_FILE_SWEEP_H

struct api;
struct file_sweep;

/* Begins at once. */
struct file_sweep *file_sweep_new(struct api *api);
/* Nothing more is started. The statement in flight ends with the database; file_sweep_free after that. */
void file_sweep_stop(struct file_sweep *s);
void file_sweep_free(struct file_sweep *s);

#endif
