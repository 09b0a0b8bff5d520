/* SPDX-License-Identifier: Apache-2.0 */
/* Which addresses and URLs an outgoing call may reach: tables of what is refused, what is allowed, and why. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#include "common/http/netguard.h"

static bool allows(const struct netguard *g, const char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		return netguard_allows_addr(g, (struct sockaddr *)&in);
	assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
	return netguard_allows_addr(g, (struct sockaddr *)&in6);
}

static void test_netguard_refuses_special_addresses(void **state)
{
	static const char *const refused[] = {
		"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1",
		"127.255.255.255", "169.254.0.0", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.255",
		"192.0.2.1", "192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0", "198.19.255.255", "198.51.100.7",
		"203.0.113.7", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::1.1.1.1",
		"64:ff9b:1::1", "100::1", "5f00::1", "fc00::1", "fdff::1", "fe80::1", "fec0::1", "ff02::1", "2001::1",
		"2001:1ff:ffff::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1", "3fff:fff::1", "1fff::1", "4000::1", "8000::1",
	};
	struct netguard g;

	(void)state;
	netguard_init(&g);
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		if (allows(&g, refused[i]))
			fail_msg("%s was allowed", refused[i]);
}

static void test_netguard_allows_public_addresses(void **state)
{
	static const char *const allowed[] = {
		"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.167.255.255",
		"192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15", "168.63.129.17",
		"::ffff:8.8.8.8", "2001:200::1", "2001:4860:4860::8888", "2001:db7:ffff::1", "2001:db9::1", "2003::1",
		"2606:4700::1111", "3ffe::1", "3fff:1000::1", "2000::1",
	};
	struct netguard g;

	(void)state;
	netguard_init(&g);
	for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
		if (!allows(&g, allowed[i]))
			fail_msg("%s was refused", allowed[i]);
}

static void test_netguard_refuses_scoped_and_foreign_addresses(void **state)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_scope_id = 2 };
	struct sockaddr_storage local = { .ss_family = AF_UNIX };
	struct netguard g;

	(void)state;
	netguard_init(&g);
	assert_int_equal(inet_pton(AF_INET6, "2606:4700::1111", &in6.sin6_addr), 1);
	assert_false(netguard_allows_addr(&g, (struct sockaddr *)&in6));
	in6.sin6_scope_id = 0;
	assert_true(netguard_allows_addr(&g, (struct sockaddr *)&in6));
	assert_false(netguard_allows_addr(&g, (struct sockaddr *)&local));
}

static void test_netguard_allow_list_comes_first(void **state)
{
	struct netguard g;

	(void)state;
	netguard_init(&g);
	assert_int_equal(netguard_allow(&g, STR("10.1.0.0/16"), NULL), 0);
	assert_int_equal(netguard_allow(&g, STR("127.0.0.1"), NULL), 0);
	assert_int_equal(netguard_allow(&g, STR("fd00:12::/33"), NULL), 0);
	assert_true(allows(&g, "10.1.255.255"));
	assert_true(allows(&g, "::ffff:10.1.0.1"));
	assert_false(allows(&g, "10.2.0.0"));
	assert_true(allows(&g, "127.0.0.1"));
	assert_false(allows(&g, "127.0.0.2"));
	assert_true(allows(&g, "fd00:12::1"));
	assert_true(allows(&g, "fd00:12:7fff::1"));
	assert_false(allows(&g, "fd00:12:8000::1"));
}

static void test_netguard_allow_refuses_what_is_not_a_range(void **state)
{
	static const char *const bad[] = { "",            "10.0.0.0/33", "10.0.0.0/",  "10.0.0/8", "10.0.0.0/-1", "fd00::/129",
		                           "example.com", "a.b.c.d",     "[fd00::]/8", "/8",       "10.0.0.0/8/8", "fe80::1%2",
		                           "1.2.3.4:80",  "0x7f.0.0.1.5" };
	struct netguard g;
	struct err err;

	(void)state;
	netguard_init(&g);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (netguard_allow(&g, str_from(bad[i]), &err) != -ERR_INVALID)
			fail_msg("\"%s\" was taken", bad[i]);
	assert_int_equal(g.nallow, 0);
	for (size_t i = 0; i < ARRAY_LEN(g.allow); i++)
		assert_int_equal(netguard_allow(&g, STR("10.0.0.0/8"), &err), 0);
	assert_int_equal(netguard_allow(&g, STR("10.0.0.0/8"), &err), -ERR_OUT_OF_RANGE);
}

static const struct url_case {
	const char *url;
	int rc;
} urls[] = {
	{ "https://example.com", 0 },
	{ "https://example.com/", 0 },
	{ "HTTPS://EXAMPLE.COM/Hook?a=b#c", 0 },
	{ "http://example.com/hook", 0 },
	{ "http://example.com?x", 0 },
	{ "https://a-b.example.com:8443/x", 0 },
	{ "https://under_score.example.com/", 0 },
	{ "https://example.com:1024/", 0 },
	{ "https://example.com:65535/", 0 },
	{ "https://example.com:80/", 0 },
	{ "https://1.1.1.1/", 0 },
	{ "https://0x1.1.1.1/", 0 },
	{ "https://16843009/", 0 },
	{ "https://[2606:4700::1111]/", 0 },
	{ "https://[2606:4700::1111]:8080/", 0 },
	{ "https://[::ffff:8.8.8.8]/", 0 },
	{ "https://4x.example.4x/", 0 },
	{ "https://xn--bcher-kva.example/", 0 },
	{ "https://example.com/a%20b", 0 },
	{ "https://example.com/@x:y", 0 },
	/* Scheme and shape. */
	{ "", -ERR_INVALID },
	{ "example.com", -ERR_INVALID },
	{ "//example.com/", -ERR_INVALID },
	{ "ftp://example.com/", -ERR_INVALID },
	{ "file:///etc/passwd", -ERR_INVALID },
	{ "gopher://example.com/", -ERR_INVALID },
	{ "javascript:alert(1)", -ERR_INVALID },
	{ "https:/example.com/", -ERR_INVALID },
	{ "https:example.com/", -ERR_INVALID },
	{ "https:///example.com/", -ERR_INVALID },
	{ "https://", -ERR_INVALID },
	{ "https://:443/", -ERR_INVALID },
	{ "https://?x", -ERR_INVALID },
	{ " https://example.com/", -ERR_INVALID },
	{ "https://example.com/ ", -ERR_INVALID },
	/* Credentials. */
	{ "https://user@example.com/", -ERR_INVALID },
	{ "https://user:pw@example.com/", -ERR_INVALID },
	{ "https://example.com@127.0.0.1/", -ERR_INVALID },
	{ "https://@example.com/", -ERR_INVALID },
	/* Characters. */
	{ "https://exam ple.com/", -ERR_INVALID },
	{ "https://example.com\\@127.0.0.1/", -ERR_INVALID },
	{ "https:\\\\example.com/", -ERR_INVALID },
	{ "https://example.com/\r\nX: y", -ERR_INVALID },
	{ "https://example.com/\x01", -ERR_INVALID },
	{ "https://example.com/\x7f", -ERR_INVALID },
	{ "https://ex\xc3\xa4mple.com/", -ERR_INVALID },
	{ "https://example.com/\xc3\xa4", -ERR_INVALID },
	{ "https://%31%32%37.0.0.1/", -ERR_INVALID },
	{ "https://exa%6dple.com/", -ERR_INVALID },
	{ "https://example.com,127.0.0.1/", -ERR_INVALID },
	{ "https://exam*ple.com/", -ERR_INVALID },
	{ "https://{a,b}.example.com/", -ERR_INVALID },
	{ "https://example..com/", -ERR_INVALID },
	{ "https://.example.com/", -ERR_INVALID },
	{ "https://example.com./", -ERR_INVALID },
	{ "https://-example.com/", -ERR_INVALID },
	/* Ports. */
	{ "https://example.com:/", -ERR_INVALID },
	{ "https://example.com:0/", -ERR_INVALID },
	{ "https://example.com:65536/", -ERR_INVALID },
	{ "https://example.com:99999999999/", -ERR_INVALID },
	{ "https://example.com:8o/", -ERR_INVALID },
	{ "https://example.com:+443/", -ERR_INVALID },
	{ "https://example.com:443:443/", -ERR_INVALID },
	{ "https://example.com:22/", -ERR_ADDRESS_REFUSED },
	{ "https://example.com:25/", -ERR_ADDRESS_REFUSED },
	{ "https://example.com:1023/", -ERR_ADDRESS_REFUSED },
	{ "https://1.1.1.1:22/", -ERR_ADDRESS_REFUSED },
	/* Addresses, however they are spelled. */
	{ "http://127.0.0.1/", -ERR_ADDRESS_REFUSED },
	{ "http://127.1/", -ERR_ADDRESS_REFUSED },
	{ "http://127.0.1/", -ERR_ADDRESS_REFUSED },
	{ "http://2130706433/", -ERR_ADDRESS_REFUSED },
	{ "http://0x7f000001/", -ERR_ADDRESS_REFUSED },
	{ "http://0X7F.0.0.1/", -ERR_ADDRESS_REFUSED },
	{ "http://0x7f.1/", -ERR_ADDRESS_REFUSED },
	{ "http://017700000001/", -ERR_ADDRESS_REFUSED },
	{ "http://0177.0.0.1/", -ERR_ADDRESS_REFUSED },
	{ "http://0/", -ERR_ADDRESS_REFUSED },
	{ "http://10.0.0.1:8080/", -ERR_ADDRESS_REFUSED },
	{ "http://169.254.169.254/latest/meta-data/", -ERR_ADDRESS_REFUSED },
	{ "http://2852039166/", -ERR_ADDRESS_REFUSED },
	{ "http://[::1]/", -ERR_ADDRESS_REFUSED },
	{ "http://[::]/", -ERR_ADDRESS_REFUSED },
	{ "http://[::ffff:127.0.0.1]/", -ERR_ADDRESS_REFUSED },
	{ "http://[::ffff:7f00:1]/", -ERR_ADDRESS_REFUSED },
	{ "http://[0:0:0:0:0:ffff:a00:1]/", -ERR_ADDRESS_REFUSED },
	{ "http://[fd00::1]/", -ERR_ADDRESS_REFUSED },
	{ "http://[64:ff9b::7f00:1]/", -ERR_ADDRESS_REFUSED },
	{ "http://[2002:7f00:1::]/", -ERR_ADDRESS_REFUSED },
	{ "http://[fe80::1%25eth0]/", -ERR_INVALID },
	{ "http://[fe80::1%eth0]/", -ERR_INVALID },
	{ "http://[::1/", -ERR_INVALID },
	{ "http://[]/", -ERR_INVALID },
	{ "http://[127.0.0.1]/", -ERR_INVALID },
	{ "http://[::1]x/", -ERR_INVALID },
	{ "http://[v1.x]/", -ERR_INVALID },
	{ "http://::1/", -ERR_INVALID },
	{ "http://256.1.1.1/", -ERR_INVALID },
	{ "http://1.2.3.4.5/", -ERR_INVALID },
	{ "http://127.0.0.08/", -ERR_INVALID },
	{ "http://4294967296/", -ERR_INVALID },
	{ "http://1.16777216/", -ERR_INVALID },
	{ "http://example.0x7f/", -ERR_INVALID },
	{ "http://0x/", -ERR_INVALID },
	{ "http://127.0.0.1./", -ERR_INVALID },
	{ "http://1..1/", -ERR_INVALID },
};

static void test_netguard_check_url_table(void **state)
{
	struct netguard g;
	struct err err;

	(void)state;
	netguard_init(&g);
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		memset(&err, 0, sizeof(err));
		int rc = netguard_check_url(&g, str_from(urls[i].url), &err);
		if (rc != urls[i].rc)
			fail_msg("%s gave %d (%s)", urls[i].url, rc, err.text);
		if (rc)
			assert_true(err.text[0] != 0);
	}
}

static void test_netguard_check_url_length_and_nul(void **state)
{
	char text[2049] = "https://example.com/";
	struct netguard g;

	(void)state;
	netguard_init(&g);
	memset(text + 20, 'a', sizeof(text) - 20);
	assert_int_equal(netguard_check_url(&g, (struct str){ text, 2048 }, NULL), 0);
	assert_int_equal(netguard_check_url(&g, (struct str){ text, 2049 }, NULL), -ERR_INVALID);
	assert_int_equal(netguard_check_url(&g, STR("https://example.com/\0x"), NULL), -ERR_INVALID);
	memset(text + 8, 'a', 64);
	memcpy(text + 72, ".com/", 5);
	assert_int_equal(netguard_check_url(&g, (struct str){ text, 77 }, NULL), -ERR_INVALID);
}

static void test_netguard_check_url_https_only(void **state)
{
	struct netguard g;

	(void)state;
	netguard_init(&g);
	g.https_only = true;
	assert_int_equal(netguard_check_url(&g, STR("https://example.com/"), NULL), 0);
	assert_int_equal(netguard_check_url(&g, STR("http://example.com/"), NULL), -ERR_INVALID);
}

static void test_netguard_check_url_allow_listed_literal_may_use_any_port(void **state)
{
	struct netguard g;

	(void)state;
	netguard_init(&g);
	assert_int_equal(netguard_allow(&g, STR("127.0.0.0/8"), NULL), 0);
	assert_int_equal(netguard_check_url(&g, STR("http://127.0.0.1:81/"), NULL), 0);
	assert_int_equal(netguard_check_url(&g, STR("http://127.1:81/"), NULL), 0);
	assert_int_equal(netguard_check_url(&g, STR("http://[::ffff:127.0.0.1]:81/"), NULL), 0);
	assert_int_equal(netguard_check_url(&g, STR("http://10.0.0.1:81/"), NULL), -ERR_ADDRESS_REFUSED);
	assert_int_equal(netguard_check_url(&g, STR("http://localhost:81/"), NULL), -ERR_ADDRESS_REFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_netguard_refuses_special_addresses),
		cmocka_unit_test(test_netguard_allows_public_addresses),
		cmocka_unit_test(test_netguard_refuses_scoped_and_foreign_addresses),
		cmocka_unit_test(test_netguard_allow_list_comes_first),
		cmocka_unit_test(test_netguard_allow_refuses_what_is_not_a_range),
		cmocka_unit_test(test_netguard_check_url_table),
		cmocka_unit_test(test_netguard_check_url_length_and_nul),
		cmocka_unit_test(test_netguard_check_url_https_only),
		cmocka_unit_test(test_netguard_check_url_allow_listed_literal_may_use_any_port),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
