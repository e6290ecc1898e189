package azuresim

// The names that Azure's clouds have in a machine's metadata.
const (
	Public     = "AzurePublicCloud"
	Government = "AzureUSGovernmentCloud"
	China      = "AzureChinaCloud"
)

// Where the vaults of each cloud are, below which each has a name ("About
// keys, secrets, and certificates: DNS suffixes for base URL").
const (
	PublicVaults     = "vault.azure.net"
	GovernmentVaults = "vault.usgovcloudapi.net"
	ChinaVaults      = "vault.azure.cn"
)

// place is what differs from cloud to cloud ("National clouds", "Azure
// Government endpoint mapping", "Azure China: check endpoints").
type place struct {
	entra     string // host
	resources string // host of Resource Manager
	core      string // host in Resource Manager's older audience
	issuer    string // host in the issuer of v1.0 tokens
	vaults    string
}

var places = map[string]place{
	Public:     {"login.microsoftonline.com", "management.azure.com", "management.core.windows.net", "sts.windows.net", PublicVaults},
	Government: {"login.microsoftonline.us", "management.usgovcloudapi.net", "management.core.usgovcloudapi.net", "sts.windows.net", GovernmentVaults},
	China:      {"login.chinacloudapi.cn", "management.chinacloudapi.cn", "management.core.chinacloudapi.cn", "sts.chinacloudapi.cn", ChinaVaults},
}

// Hosts are the names that Clouds answer to, for cloudsim.Options.Names.
var Hosts = hosts()

func hosts() (names []string) {
	for _, p := range places {
		names = append(names, p.entra, p.resources, "*."+p.vaults)
	}
	return names
}
