/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CRC-32 of zlib and of AWS's event streams (ISO 3309: polynomial 0x04c11db7, reflected), eight bytes at a time ("slicing by 8"): table k says what a
 * byte comes to that k more bytes follow. Each byte of a Bedrock stream goes through here, so it must run at the speed of the rest of its reading.
 *
 * A table is linear over its bits: an entry is the xor of the entries of the single bits in its index. So eight numbers make a table, and the compiler makes
 * them all.
 */
#include "common/crypto.h"

#include <endian.h>
#include <string.h>

#define ENTRY(n, a, b, c, d, e, f, g, h) \
	(((n) & 1 ? (a) : 0) ^ ((n) & 2 ? (b) : 0) ^ ((n) & 4 ? (c) : 0) ^ ((n) & 8 ? (d) : 0) ^ ((n) & 16 ? (e) : 0) ^ ((n) & 32 ? (f) : 0) ^ ((n) & 64 ? (g) : 0) ^ \
	 ((n) & 128 ? (h) : 0))
#define FOUR(n, ...)    ENTRY(n, __VA_ARGS__), ENTRY((n) + 1, __VA_ARGS__), ENTRY((n) + 2, __VA_ARGS__), ENTRY((n) + 3, __VA_ARGS__)
#define SIXTEEN(n, ...) FOUR(n, __VA_ARGS__), FOUR((n) + 4, __VA_ARGS__), FOUR((n) + 8, __VA_ARGS__), FOUR((n) + 12, __VA_ARGS__)
#define QUARTER(n, ...) SIXTEEN(n, __VA_ARGS__), SIXTEEN((n) + 16, __VA_ARGS__), SIXTEEN((n) + 32, __VA_ARGS__), SIXTEEN((n) + 48, __VA_ARGS__)
#define TABLE(...)      { QUARTER(0, __VA_ARGS__), QUARTER(64, __VA_ARGS__), QUARTER(128, __VA_ARGS__), QUARTER(192, __VA_ARGS__) }

static const uint32_t tables[8][256] = {
	TABLE(0x77073096, 0xee0e612c, 0x076dc419, 0x0edb8832, 0x1db71064, 0x3b6e20c8, 0x76dc4190, 0xedb88320),
	TABLE(0x191b3141, 0x32366282, 0x646cc504, 0xc8d98a08, 0x4ac21251, 0x958424a2, 0xf0794f05, 0x3b83984b),
	TABLE(0x01c26a37, 0x0384d46e, 0x0709a8dc, 0x0e1351b8, 0x1c26a370, 0x384d46e0, 0x709a8dc0, 0xe1351b80),
	TABLE(0xb8bc6765, 0xaa09c88b, 0x8f629757, 0xc5b428ef, 0x5019579f, 0xa032af3e, 0x9b14583d, 0xed59b63b),
	TABLE(0x3d6029b0, 0x7ac05360, 0xf580a6c0, 0x30704bc1, 0x60e09782, 0xc1c12f04, 0x58f35849, 0xb1e6b092),
	TABLE(0xcb5cd3a5, 0x4dc8a10b, 0x9b914216, 0xec53826d, 0x03d6029b, 0x07ac0536, 0x0f580a6c, 0x1eb014d8),
	TABLE(0xa6770bb4, 0x979f1129, 0xf44f2413, 0x33ef4e67, 0x67de9cce, 0xcfbd399c, 0x440b7579, 0x8816eaf2),
	TABLE(0xccaa009e, 0x4225077d, 0x844a0efa, 0xd3e51bb5, 0x7cbb312b, 0xf9766256, 0x299dc2ed, 0x533b85da),
};

static uint32_t le32(const char *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

uint32_t crypto_crc32(struct str s)
{
	uint32_t crc = 0xffffffff;
	for (; s.n >= 8; s = str_sub(s, 8, s.n)) {
		uint32_t low = crc ^ le32(s.p), high = le32(s.p + 4);
		crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^ tables[5][low >> 16 & 0xff] ^ tables[4][low >> 24] ^ tables[3][high & 0xff] ^
		      tables[2][high >> 8 & 0xff] ^ tables[1][high >> 16 & 0xff] ^ tables[0][high >> 24];
	}
	for (size_t i = 0; i < s.n; i++)
		crc = crc >> 8 ^ tables[0][(crc ^ (unsigned char)s.p[i]) & 0xff];
	return ~crc;
}
