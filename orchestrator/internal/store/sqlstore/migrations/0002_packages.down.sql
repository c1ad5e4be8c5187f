DROP TABLE publishers;
DROP TABLE assignments;
DROP TABLE packages;
