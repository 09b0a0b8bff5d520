# SPDX-License-Identifier: Apache-2.0
# Turns .sql files into C. kind=sql: one struct db_stmt per file (sql_ROOM_NAME), lines of comment left out; kind=migrations: the
# list of migrations in order; kind=texts: struct embedded_text ROOM[], each file as it is. Writes the C file to standard output and the declarations to
# the file named by `header`.
function base(path) { sub(/.*\//, "", path); sub(/\.(sql|json)$/, "", path); return path }
function c_line(s) { gsub(/\\/, "\\\\\\\\", s); gsub(/"/, "\\\"", s); gsub(/\?\?/, "?\\?", s); return "\t\"" s "\\n\"" }
function finish() {
	if (file == "")
		return
	if (kind == "sql") {
		printf "const struct db_stmt sql_%s_%s = { \"%s\",\n%s,\n\t%d };\n\n", room, base(file), base(file), body, nparams
		print "extern const struct db_stmt sql_" room "_" base(file) ";" > header
		names[++n] = "sql_" room "_" base(file)
	} else {
		printf "static const char sql_%s[] =\n%s;\n\n", ++n, body
		names[n] = base(file)
	}
}
BEGIN {
	print "/* Made by common/embed.awk; do not edit. */"
	print "/* Made by common/embed.awk; do not edit. */\n#pragma once" > header
	if (kind == "sql") {
		print "#include \"common/db/db.h\""
		print "#include \"common/db/db.h\"" > header
	} else if (kind == "texts") {
		print "struct embedded_text {\n\tconst char *name;\n\tconst char *text;\n};" > header
		print "extern const struct embedded_text " room "[]; /* ended by a row without a name */" > header
	} else {
		print "struct migration {\n\tint number;\n\tconst char *name;\n\tconst char *sql;\n};" > header
		print "extern const struct migration migrations[];\nextern const int migrations_n;" > header
	}
	h = header
	sub(/.*\//, "", h)
	print "#include \"" h "\"\n"
}
FNR == 1 { finish(); file = (FILENAME == "/dev/null") ? "" : FILENAME; body = ""; nparams = 0 }
kind == "sql" && /^[ \t]*--/ { next }
{
	s = $0
	while (match(s, /\$[0-9]+/)) {
		k = substr(s, RSTART + 1, RLENGTH - 1) + 0
		if (k > nparams)
			nparams = k
		s = substr(s, RSTART + RLENGTH)
	}
	body = body (body == "" ? "" : "\n") c_line($0)
}
END {
	finish()
	if (kind == "sql") {
		print "extern const struct db_stmt *const sql_" room "_all[];\nextern const int sql_" room "_all_n;" > header
		printf "const struct db_stmt *const sql_%s_all[] = {\n", room
		for (i = 1; i <= n; i++)
			printf "\t&%s,\n", names[i]
		print "\tNULL,\n};"
		printf "const int sql_%s_all_n = %d;\n", room, n
	} else if (kind == "texts") {
		print "const struct embedded_text " room "[] = {"
		for (i = 1; i <= n; i++)
			printf "\t{ \"%s\", sql_%d },\n", names[i], i
		print "\t{ 0, 0 },\n};"
	} else {
		print "const struct migration migrations[] = {"
		for (i = 1; i <= n; i++)
			printf "\t{ %d, \"%s\", sql_%d },\n", substr(names[i], 1, 4) + 0, names[i], i
		print "\t{ 0, 0, 0 },\n};"
		printf "const int migrations_n = %d;\n", n
	}
}
