/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gemini's errors (Google: AIP-193, Gemini API troubleshooting): a google.rpc status with details. A rate limit names
 * the quota that is used up (per minute or per day) and says in RetryInfo when to come again; there are no headers for
 * it. A prompt that a filter refuses is no error there: an answer without candidates, with promptFeedback.
 */
#include "cli/simulator/gemini.h"

const struct error_row gemini_errors[ERROR_CLASSES] = {
	[ERROR_RATE_LIMIT] = { 429, NULL, "GenerateRequestsPerMinutePerProjectPerModel",
	                       "You exceeded your current quota, please check your plan and billing details. For more "
	                       "information on this error, head to: "
	                       "https://ai.google.dev/gemini-api/docs/rate-limits." },
	[ERROR_OVERLOADED] = { 503, NULL, NULL, "The model is overloaded. Please try again later." },
	[ERROR_AUTH] = { 400, "API_KEY_INVALID", NULL, "API key not valid. Please pass a valid API key." },
	[ERROR_BILLING] = { 403, "BILLING_DISABLED", NULL,
	                    "This API method requires billing to be enabled. Please enable billing on project #1 by "
	                    "visiting "
	                    "https://console.developers.google.com/billing/enable?project=1 then retry." },
	[ERROR_PERMISSION] = { 403, "IAM_PERMISSION_DENIED", NULL, "The caller does not have permission" },
	[ERROR_NOT_FOUND] = { 404, NULL, NULL, "The model is not found." },
	[ERROR_CONTEXT_WINDOW] = { 400, NULL, NULL,
	                           "The input token count (1200000) exceeds the maximum number of tokens allowed "
	                           "(1048576)." },
	[ERROR_CONTENT_FILTER] = { 200, NULL, NULL, "" },
	[ERROR_BAD_REQUEST] = { 400, NULL, NULL, "Request contains an invalid argument." },
	[ERROR_TOO_LARGE] = { 400, NULL, NULL, "Request payload size exceeds the limit: 20971520 bytes." },
	[ERROR_SERVER_ERROR] = { 500, NULL, NULL,
	                         "An internal error has occurred. Please retry or report in "
	                         "https://developers.generativeai.google/guide/troubleshooting" },
	[ERROR_QUOTA_DAY] = { 429, NULL, "GenerateRequestsPerDayPerProjectPerModel",
	                      "You exceeded your current quota, please check your plan and billing details. For more "
	                      "information on this error, head to: "
	                      "https://ai.google.dev/gemini-api/docs/rate-limits." },
	[ERROR_TOO_LARGE_FOR_LIMIT] = { 429, NULL, "GenerateContentInputTokensPerModelPerMinute",
	                                "You exceeded your current quota, please check your plan and billing details. "
	                                "Request too large: 40000 input tokens, limit: 30000." },
	[ERROR_TIMEOUT] = { 504, NULL, NULL, "Deadline expired before operation could complete." },
};

static const char *status_word(int status)
{
	switch (status) {
	case 401:
		return "UNAUTHENTICATED";
	case 402:
		return "FAILED_PRECONDITION";
	case 403:
		return "PERMISSION_DENIED";
	case 404:
		return "NOT_FOUND";
	case 409:
		return "ABORTED";
	case 429:
		return "RESOURCE_EXHAUSTED";
	case 499:
		return "CANCELLED";
	case 503:
		return "UNAVAILABLE";
	case 504:
		return "DEADLINE_EXCEEDED";
	default:
		return status < 500 ? "INVALID_ARGUMENT" : "INTERNAL";
	}
}

static void write_message(struct buf *b, const struct error_row *row, const struct failure *f)
{
	struct buf words;
	buf_init(&words, CHAT_TEXT_MAX);
	if (f->kind == ERROR_NOT_FOUND && f->message.n == 0)
		buf_printf(&words,
		           "models/" STR_FMT
		           " is not found for API version v1beta, or is not supported for generateContent. "
		           "Call ListModels to see the list of available models and their supported methods.",
		           STR_ARG(f->model));
	else
		buf_add_str(&words, failure_message(row, f));
	if (row->status == 429 && f->retry_after >= 0)
		buf_printf(&words, "\nPlease retry in %lld.0s.", (long long)f->retry_after);
	buf_add_json_str(b, buf_str(&words));
	buf_done(&words);
}

static void write_quota(struct buf *b, const struct error_row *row, const struct failure *f)
{
	buf_printf(b,
	           "{\"@type\":\"type.googleapis.com/google.rpc.QuotaFailure\",\"violations\":[{\"quotaMetric\":"
	           "\"generativelanguage.googleapis.com/generate_content_requests\",\"quotaId\":\"%s\","
	           "\"quotaDimensions\":{\"location\":\"global\",\"model\":",
	           row->code);
	buf_add_json_str(b, f->model);
	buf_add_z(b, "},\"quotaValue\":\"60\"}]},{\"@type\":\"type.googleapis.com/google.rpc.Help\",\"links\":[{"
	             "\"description\":\"Learn more about Gemini API quotas\","
	             "\"url\":\"https://ai.google.dev/gemini-api/docs/rate-limits\"}]}");
	if (f->retry_after >= 0)
		buf_printf(b, ",{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"%llds\"}",
		           (long long)f->retry_after);
}

static void write_details(struct buf *b, const struct error_row *row, const struct failure *f)
{
	if (row->code) {
		buf_add_z(b, ",\"details\":[");
		write_quota(b, row, f);
		buf_add_char(b, ']');
	} else if (row->type) {
		buf_printf(b,
		           ",\"details\":[{\"@type\":\"type.googleapis.com/"
		           "google.rpc.ErrorInfo\",\"reason\":\"%s\",\"domain\":"
		           "\"googleapis.com\",\"metadata\":{\"service\":\"generativelanguage.googleapis.com\"}}]",
		           row->type);
	} else if (f->param) {
		buf_add_z(
		    b, ",\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.BadRequest\",\"fieldViolations\":[{"
		       "\"field\":");
		buf_add_json_str(b, str_from(f->param));
		buf_add_z(b, ",\"description\":");
		buf_add_json_str(b, f->message);
		buf_add_z(b, "}]}]");
	}
}

static void write_blocked(struct buf *b, const struct failure *f)
{
	buf_add_z(
	    b, "{\"promptFeedback\":{\"blockReason\":\"PROHIBITED_CONTENT\"},\"usageMetadata\":{\"promptTokenCount\":8,"
	       "\"totalTokenCount\":8},\"modelVersion\":");
	buf_add_json_str(b, f->model);
	buf_add_char(b, '}');
}

void gemini_write_error(struct buf *b, const struct failure *f)
{
	const struct error_row *row = failure_row(&format_gemini, f);
	if (f->status == 200 && f->kind == ERROR_CONTENT_FILTER) {
		write_blocked(b, f);
		return;
	}
	buf_printf(b, "{\"error\":{\"code\":%d,\"message\":", f->status);
	write_message(b, row, f);
	buf_printf(b, ",\"status\":\"%s\"", status_word(f->status));
	write_details(b, row, f);
	buf_add_z(b, "}}");
}

void gemini_write_stream_error(struct buf *b, const struct failure *f)
{
	sse_event(b, NULL);
	gemini_write_error(b, f);
	buf_add_z(b, "\r\n\r\n");
}
