package vaultclient

// RetryAfter is tested without a server, whose clock would not be synthetic.
var RetryAfter = retryAfter
