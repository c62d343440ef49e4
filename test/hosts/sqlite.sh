#!/bin/sh
# SPDX-License-Identifier: MIT
#
# sqlite3: a table in memory and one in a file, indexes, joins, groups, vacuum, integrity check.
. "$(dirname "$0")/lib.sh"

have sqlite3 sqlite3 || exit 0

cat >"$work/work.sql" <<'END'
PRAGMA cache_size = -40000;
CREATE TABLE t (id INTEGER PRIMARY KEY, k INTEGER, name TEXT, body BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
INSERT INTO t SELECT i, (i * 7919) % 10007, 'name ' || (i % 991), zeroblob(i % 300) FROM n;
CREATE INDEX tk ON t (k, name);
SELECT count(*), sum(k), sum(length(body)) FROM t;
SELECT name, count(*), max(k) FROM t GROUP BY name ORDER BY 2 DESC, 1 LIMIT 20;
SELECT count(*) FROM t AS a JOIN t AS b ON a.k = b.k AND a.id < b.id;
SELECT length(group_concat(name, ';')) FROM (SELECT name FROM t ORDER BY k, id);
DELETE FROM t WHERE id % 3 = 0;
UPDATE t SET name = name || name || k WHERE k < 3000;
VACUUM;
PRAGMA integrity_check;
SELECT k, length(group_concat(name)) FROM t GROUP BY k ORDER BY 2 DESC, 1 LIMIT 10;
END
statements=$work/work.sql
export statements
same_output sqlite3-memory sh -c 'sqlite3 -batch :memory: <"$statements"'
same_output sqlite3-file sh -c 'sqlite3 -batch file.db <"$statements"'
