-- Once, as a superuser: psql -v password=… -d shop -f postgres.sql
-- Vault's own user, which may make others, and the rights that reports need.
CREATE ROLE vault LOGIN CREATEROLE PASSWORD :'password';
CREATE ROLE reports NOLOGIN;
GRANT reports TO vault WITH ADMIN OPTION;
GRANT SELECT ON stock TO reports;
