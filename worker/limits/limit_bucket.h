/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this process has of one limit: slices that it took from the table and may spend while they live, and what it owes because more was
 * used than taken. Pure: time is an argument (steady milliseconds).
 */
#ifndef MR_WORKER_LIMITS_LIMIT_BUCKET_H
#define MR_WORKER_LIMITS_LIMIT_BUCKET_H

#include "common/base.h"

#define LIMIT_SLICE_MS   1000 /* from the moment that the statement which took it was sent */
#define LIMIT_SLICES_MAX 16

/* How a limit of `cap` per minute is spread: as limit_take.sql does it. */
#define LIMIT_KEPT_S 63
#define LIMIT_BURST(cap) ((cap) / 30 > 1 ? (cap) / 30 : 1)

struct limit_slice {
	int64_t left;
	uint64_t taken_ms;
	int64_t second; /* the database's, in which it was counted */
};

struct limit_bucket {
	struct limit_slice slices[LIMIT_SLICES_MAX]; /* a ring, oldest first */
	unsigned first, n;
	int64_t left; /* of all slices */
	int64_t owed;
};

/* What may be spent now: below zero while more is owed than there is. Drops what has lapsed. */
int64_t limit_bucket_left(struct limit_bucket *b, uint64_t now_ms);
/* A slice has come. Nothing when it has lapsed already. What is owed is taken off it first. */
void limit_bucket_add(struct limit_bucket *b, int64_t amount, int64_t second, uint64_t taken_ms, uint64_t now_ms);
/* Spends amount (≥ 0) of the oldest slices; *ret_taken_ms is the oldest one's. False, and nothing changed, when there is less. */
bool limit_bucket_spend(struct limit_bucket *b, int64_t amount, uint64_t now_ms, uint64_t *ret_taken_ms);
/* This much of what was spent was not used: back into its slice, if that lives. */
void limit_bucket_unspend(struct limit_bucket *b, int64_t amount, uint64_t taken_ms, uint64_t now_ms);
/* This much was used without having been taken: out of what is there, the rest is owed. */
void limit_bucket_owe(struct limit_bucket *b, int64_t amount, uint64_t now_ms);
/* No more than `most` is left. */
void limit_bucket_lower(struct limit_bucket *b, int64_t most);
/* Takes out what is left of the oldest second's slices, to be given back to the table, when they are at least min_age_ms old. 0: none. */
int64_t limit_bucket_give_back(struct limit_bucket *b, uint64_t min_age_ms, uint64_t now_ms, int64_t *ret_second);

#endif
