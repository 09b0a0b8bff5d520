/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Bedrock's exceptions mean (Amazon Bedrock API Reference: Converse, ConverseStream, common errors). The name decides; where it leaves it
 * open (validation may be a context that is too long) the status and the text do, by the rules that hold for all providers.
 */
#include "worker/providers/bedrock.h"

#include "worker/providers/classify.h"

static const struct {
	struct str name;
	int status;          /* for those that come inside a stream */
	enum err_code class; /* ERR_OK: as the status and the text say */
} exceptions[] = {
	{ STR("ThrottlingException"), 429, ERR_OK },
	{ STR("TooManyRequestsException"), 429, ERR_OK },
	{ STR("ModelNotReadyException"), 429, ERR_OK },
	{ STR("ServiceQuotaExceededException"), 400, ERR_QUOTA },
	{ STR("ValidationException"), 400, ERR_OK },
	{ STR("AccessDeniedException"), 403, ERR_OK },
	{ STR("UnrecognizedClientException"), 403, ERR_PROVIDER_AUTH },
	{ STR("InvalidSignatureException"), 403, ERR_PROVIDER_AUTH },
	{ STR("IncompleteSignatureException"), 403, ERR_PROVIDER_AUTH },
	{ STR("ExpiredTokenException"), 403, ERR_PROVIDER_AUTH },
	{ STR("InvalidClientTokenId"), 403, ERR_PROVIDER_AUTH },
	{ STR("MissingAuthenticationTokenException"), 403, ERR_PROVIDER_AUTH },
	{ STR("ResourceNotFoundException"), 404, ERR_OK },
	{ STR("ModelTimeoutException"), 408, ERR_OK },
	{ STR("ModelErrorException"), 424, ERR_TRANSIENT },
	{ STR("ModelStreamErrorException"), 424, ERR_TRANSIENT },
	{ STR("InternalServerException"), 500, ERR_OK },
	{ STR("InternalFailure"), 500, ERR_OK },
	{ STR("ServiceUnavailableException"), 503, ERR_OK },
};

struct str bedrock_error_name(struct str type)
{
	ssize_t colon = str_find_char(type, ':');
	if (colon >= 0)
		type = str_sub(type, 0, (size_t)colon);
	ssize_t hash = str_find_char(type, '#');
	return str_trim(hash >= 0 ? str_sub(type, (size_t)hash + 1, type.n) : type);
}

/* Texts that say more than the name does. */
static enum err_code by_text(enum err_code class, struct str message)
{
	if (class == ERR_PROVIDER_RATE_LIMIT && str_find_nocase(message, STR("per day")) >= 0)
		return ERR_QUOTA;
	if (class == ERR_PROVIDER_PERMISSION && (str_find_nocase(message, STR("security token included in the request is")) >= 0 ||
	                                         str_find_nocase(message, STR("make sure your api key is valid")) >= 0))
		return ERR_PROVIDER_AUTH;
	if (class == ERR_PROVIDER_PERMISSION && str_find(message, STR("INVALID_PAYMENT_INSTRUMENT")) >= 0)
		return ERR_BILLING;
	if (class == ERR_BAD_REQUEST && str_has_prefix_nocase(message, STR("the provided model identifier is invalid")))
		return ERR_PROVIDER_NOT_FOUND;
	if (class == ERR_TRANSIENT && str_find_nocase(message, STR("could not process image")) >= 0)
		return ERR_BAD_REQUEST;
	return class;
}

enum err_code bedrock_error_class(int status, struct str name, struct str message)
{
	struct failure f = { .status = status, .type = name, .message = message };
	for (size_t i = 0; i < ARRAY_LEN(exceptions); i++) {
		if (!str_eq_nocase(name, exceptions[i].name))
			continue;
		if (exceptions[i].class != ERR_OK)
			return by_text(exceptions[i].class, message);
		if (status == 0)
			f.status = exceptions[i].status;
		break;
	}
	return by_text(classify(&f), message);
}
