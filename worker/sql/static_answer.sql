-- SPDX-License-Identifier: Apache-2.0
-- The prepared answer that fits a question best. $1 the answers' match words ('' : the last resort) $2 the question. Returns its place (from 1), or no
-- row when none has a word in common with it and there is no last resort. Words are compared as they are and without their English endings.
with question as materialized (
	select to_tsvector('simple', $2::text) || to_tsvector('english', $2::text) as words
), ranked as (
	select a.place, a.match = '' as resort, case when a.match = '' then 0 else ts_rank(q.words,
		(select coalesce(string_agg(quote_literal(lexeme), ' | '), '')::tsquery from (
			select unnest(tsvector_to_array(to_tsvector('simple', a.match) || to_tsvector('english', a.match))) as lexeme) l)) end as rank
	from unnest($1::text[]) with ordinality as a(match, place), question q
)
select place from ranked where resort or rank > 0 order by rank desc, place limit 1
