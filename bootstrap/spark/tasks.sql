-- Hands each file of lines to one task of its own, and what the worker answers to a folder. Rendered by fruits-core/src/spark, which
-- quotes what it puts in. Lines are JSON, which holds neither tabs nor line breaks.
CREATE TEMPORARY VIEW tasks USING text OPTIONS (path {lines});
INSERT OVERWRITE DIRECTORY USING text OPTIONS (path {answers})
SELECT answer FROM (
  SELECT TRANSFORM (value)
    ROW FORMAT DELIMITED FIELDS TERMINATED BY '\t' LINES TERMINATED BY '\n' NULL DEFINED AS '\\N'
    USING {worker} AS (answer STRING)
    ROW FORMAT DELIMITED FIELDS TERMINATED BY '\t' LINES TERMINATED BY '\n' NULL DEFINED AS '\\N'
  FROM tasks
);
