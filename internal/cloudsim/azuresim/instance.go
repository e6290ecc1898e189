package azuresim

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// serveInstance answers with the whole document about the machine, or with the
// part of it that the path names ("Azure Instance Metadata Service: Instance
// metadata"): a value as text if format=text asks for it.
func (m *IMDS) serveInstance(w http.ResponseWriter, r *http.Request, query url.Values) {
	m.mu.Lock()
	var at any = m.document(query.Get("api-version"))
	m.mu.Unlock()
	for name := range strings.SplitSeq(strings.Trim(strings.TrimPrefix(r.URL.Path, InstancePath), "/"), "/") {
		if name == "" {
			continue
		}
		below, found := child(at, name)
		if !found {
			m.refuse(w, r, http.StatusNotFound, "not_found", "The requested resource was not found")
			return
		}
		at = below
	}
	text, isText := at.(string)
	switch asked := cmp.Or(query.Get("format"), "json"); {
	case asked == "text" && isText:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, text) // a client that went away needs no answer
	case asked == "text":
		m.refuse(w, r, http.StatusBadRequest, "invalid_request", "This stand-in writes values as text, and lists nothing")
	default:
		answer(w, http.StatusOK, at)
	}
}

// child is what lies below a directory or list under a name.
func child(at any, name string) (below any, found bool) {
	switch at := at.(type) {
	case map[string]any:
		below, found = at[name]
	case []any:
		i, err := strconv.Atoi(name)
		if err == nil && i >= 0 && i < len(at) {
			return at[i], true
		}
	}
	return below, found
}

// document is what a version of the service says of the machine, which has one
// network interface and no public key.
func (m *IMDS) document(version string) map[string]any {
	compute := map[string]any{
		"azEnvironment": cmp.Or(m.machine.Environment, m.tenant.cloud.name), "location": m.machine.Location,
		"name": m.machine.Name, "osType": "Linux", "provider": "Microsoft.Compute", "resourceGroupName": m.machine.ResourceGroup,
		"resourceId": m.machine.id(), "subscriptionId": m.machine.Subscription, "vmId": m.vmID, "vmScaleSetName": m.machine.ScaleSet,
		"vmSize": "Standard_B1s", "zone": "", "publicKeys": []any{},
		"osProfile": map[string]any{"adminUsername": "azureuser", "computerName": m.machine.Name, "disablePasswordAuthentication": "true"},
		"tags":      m.machine.tagsText(),
	}
	if version >= "2019-06-04" {
		compute["tagsList"] = m.machine.tagsList()
	}
	if version >= "2021-01-01" {
		compute["userData"] = base64.StdEncoding.EncodeToString([]byte(m.machine.UserData))
	}
	mac := strings.ToUpper(strings.ReplaceAll(cmp.Or(m.machine.MAC, MAC), ":", ""))
	return map[string]any{"compute": compute, "network": map[string]any{"interface": []any{map[string]any{
		"ipv4": map[string]any{
			"ipAddress": []any{map[string]any{"privateIpAddress": "10.0.0.10", "publicIpAddress": ""}},
			"subnet":    []any{map[string]any{"address": "10.0.0.0", "prefix": "24"}},
		},
		"ipv6": map[string]any{"ipAddress": []any{}}, "macAddress": mac,
	}}}}
}

// tagsText is how tags were told first, before anyone put a semicolon into one.
func (m Machine) tagsText() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m.Tags)) {
		all = append(all, fmt.Sprintf("%s:%s", name, m.Tags[name]))
	}
	return strings.Join(all, ";")
}

func (m Machine) tagsList() []any {
	list := []any{}
	for _, name := range slices.Sorted(maps.Keys(m.Tags)) {
		list = append(list, map[string]any{"name": name, "value": m.Tags[name]})
	}
	return list
}
