package vaultsim

import (
	"net/http"
	"net/url"
	"strconv"
)

// respondHealth answers sys/health, which needs no token, says more when
// unsealed, and lets the client choose the status of each state.
func (v *Vault) respondHealth(w http.ResponseWriter, query url.Values) {
	sealed, status := v.isSealed(), chosen(query, "activecode", http.StatusOK)
	health := map[string]any{
		"initialized": true, "sealed": sealed, "standby": sealed, "performance_standby": false,
		"replication_performance_mode": "disabled", "replication_dr_mode": "disabled",
		"server_time_utc": v.env.Now().Unix(), "version": "1.21.2", "enterprise": false,
		"echo_duration_ms": 0, "clock_skew_ms": 0, "replication_primary_canary_age_ms": 0,
	}
	if sealed {
		status = chosen(query, "sealedcode", http.StatusServiceUnavailable)
		health["replication_performance_mode"], health["replication_dr_mode"] = "unknown", "unknown"
	} else {
		health["cluster_name"], health["cluster_id"] = "vault-cluster-cloudsim", "00000000-0000-4000-8000-000000000000"
	}
	write(w, status, health)
}

func chosen(query url.Values, name string, otherwise int) int {
	if status, err := strconv.Atoi(query.Get(name)); err == nil && status >= 200 && status < 600 {
		return status
	}
	return otherwise
}
