/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The providers by name. What each can take is a sum of groups of bits, as its documentation says; a server that refuses more than its row says is a
 * target's `cannot`, one that takes more its `can`.
 */
#include "common/provider_record.h"

#include "common/request_facts.h"

#define TEXT_CAN     (NEED_CHAT | NEED_TOOLS | NEED_JSON_OBJECT | NEED_TEXT_FILES)
#define VISION_CAN   (NEED_IMAGES | NEED_IMAGE_URLS)
#define SAMPLING_CAN (NEED_CHOICES | NEED_LOGPROBS | NEED_LOGIT_BIAS)
#define VECTOR_CAN   (NEED_EMBEDDINGS | NEED_TOKENS)

#define OPENAI_CAN \
	(TEXT_CAN | VISION_CAN | NEED_PDF | NEED_OTHER_FILES | NEED_FILE_IDS | NEED_AUDIO | NEED_JSON_SCHEMA | SAMPLING_CAN | VECTOR_CAN | NEED_DIMENSIONS)
#define ANTHROPIC_CAN (TEXT_CAN | VISION_CAN | NEED_PDF | NEED_FILE_IDS | NEED_JSON_SCHEMA)
#define GEMINI_CAN \
	(TEXT_CAN | VISION_CAN | NEED_PDF | NEED_FILE_IDS | NEED_AUDIO | NEED_JSON_SCHEMA | NEED_CHOICES | NEED_EMBEDDINGS | NEED_DIMENSIONS)
#define BEDROCK_CAN   (TEXT_CAN | NEED_IMAGES | NEED_PDF | NEED_OTHER_FILES | NEED_JSON_SCHEMA | NEED_EMBEDDINGS | NEED_DIMENSIONS)
#define VLLM_CAN      (TEXT_CAN | VISION_CAN | NEED_AUDIO | NEED_JSON_SCHEMA | SAMPLING_CAN | VECTOR_CAN | NEED_DIMENSIONS)
#define LLAMACPP_CAN  (TEXT_CAN | VISION_CAN | NEED_JSON_SCHEMA | NEED_LOGPROBS | NEED_LOGIT_BIAS | VECTOR_CAN)
#define OLLAMA_CAN    (TEXT_CAN | NEED_IMAGES | NEED_JSON_SCHEMA | NEED_EMBEDDINGS | NEED_DIMENSIONS)
#define GROQ_CAN      (TEXT_CAN | VISION_CAN | NEED_JSON_SCHEMA)
#define MISTRAL_CAN   (TEXT_CAN | VISION_CAN | NEED_JSON_SCHEMA | NEED_CHOICES | NEED_EMBEDDINGS)
#define DEEPSEEK_CAN  (TEXT_CAN | NEED_LOGPROBS)
#define TOGETHER_CAN  (TEXT_CAN | VISION_CAN | NEED_JSON_SCHEMA | SAMPLING_CAN | NEED_EMBEDDINGS)

const struct provider_record provider_records[] = {
#define PROVIDER(id, adapter_name, url, can_bits, quirk_bits, about) { #id, adapter_name, url, about, can_bits, quirk_bits },
#include "common/provider_record.def"
#undef PROVIDER
};
const size_t provider_records_n = ARRAY_LEN(provider_records);

const struct provider_record *provider_record_find(struct str name)
{
	for (size_t i = 0; i < provider_records_n; i++)
		if (str_eq_z(name, provider_records[i].name))
			return &provider_records[i];
	return NULL;
}
