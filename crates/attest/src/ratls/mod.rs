//! RA-TLS certificates: evidence inside a self-signed X.509 certificate, both directions.
