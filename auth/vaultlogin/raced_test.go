//go:build race

package vaultlogin_test

// seeds is how many years are lived for each max TTL, because the race detector makes a year ten times as long.
const seeds = 1
