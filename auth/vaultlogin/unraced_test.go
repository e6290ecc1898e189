//go:build !race

package vaultlogin_test

// seeds is how many years are lived for each max TTL, for chance plays a part in each.
const seeds = 8
