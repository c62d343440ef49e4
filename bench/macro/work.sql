-- SPDX-License-Identifier: MIT
-- Tables in memory: inserts, an index, joins, sorts, updates and deletes.  Prints nothing, so that the
-- first line of output can be what the runner adds where it wants to know that this is done.
create table person (id integer primary key, name text, town text, score real);
with recursive n(i) as (values (1) union all select i + 1 from n where i < 150000)
    insert into person select i, 'person ' || i, 'town ' || (i * 7919 % 5003), i * 0.5 from n;
create index by_town on person (town);
create table visit (person integer, place text, note text);
insert into visit select id * 3 % 150000 + 1, town, hex(randomblob(id % 60)) from person;
create temporary table best as
    select town, count(*) as people, max(score) as top, group_concat(name) as names
    from person group by town;
create temporary table joined as
    select person.name, visit.place, visit.note from visit join person on person.id = visit.person
    order by visit.note, person.name;
update person set name = name || ' of ' || town where id % 3 = 0;
delete from visit where person % 2 = 0;
create temporary table longest as select count(*), max(length(names)) from best;
drop table longest;
drop table joined;
drop table best;
drop table visit;
drop table person;
