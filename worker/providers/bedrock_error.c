/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bedrock's exceptions (Amazon Bedrock API Reference: Converse, ConverseStream, common errors) by their name. What a name means stands with all other
 * words of providers in classify.c; the name comes with a namespace in front and an address behind it, from a header, from `__type` or from a frame.
 */
#include "worker/providers/bedrock.h"

#include "worker/providers/classify.h"

struct str bedrock_error_name(struct str type)
{
	ssize_t colon = str_find_char(type, ':');
	if (colon >= 0)
		type = str_sub(type, 0, (size_t)colon);
	ssize_t hash = str_find_char(type, '#');
	return str_trim(hash >= 0 ? str_sub(type, (size_t)hash + 1, type.n) : type);
}

enum err_code bedrock_error_class(int status, struct str name, struct str message)
{
	return classify(&(struct failure){ .status = status, .type = name, .message = message });
}
