package awssim

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
)

// leaves are the documents that the service has, by path. A document is made
// when it is asked for, because asking for keys may issue them.
func (m *IMDS) leaves() map[string]func() string {
	text := func(s string) func() string { return func() string { return s } }
	i := m.instance
	leaves := map[string]func() string{
		"latest/meta-data/instance-id":                 text(i.ID),
		"latest/meta-data/placement/region":            text(i.Region),
		"latest/meta-data/placement/availability-zone": text(i.AvailabilityZone),
		"latest/dynamic/instance-identity/document":    m.document,
	}
	if i.Role != "" {
		leaves["latest/meta-data/iam/security-credentials/"+i.Role] = m.roleDocument
	}
	if n := i.Notary; n != nil {
		leaves["latest/dynamic/instance-identity/rsa2048"] = func() string { return n.pkcs7(m.document()) }
		leaves["latest/dynamic/instance-identity/signature"] = func() string { return n.signature(m.document()) }
	}
	return leaves
}

// lookUp finds a document, or lists what lies directly below a directory: one
// name a line, with a slash when there is more below it.
func (m *IMDS) lookUp(path string) (content string, found bool) {
	leaves := m.leaves()
	if leaf, is := leaves[path]; is {
		return leaf(), true
	}
	directory := strings.TrimSuffix(path, "/") + "/"
	if directory == "latest/meta-data/iam/security-credentials/" && m.instance.Role != "" {
		return m.roleName(), true
	}
	names := map[string]bool{}
	for leaf := range leaves {
		if below, inside := strings.CutPrefix(leaf, strings.TrimPrefix(directory, "/")); inside {
			name, _, deeper := strings.Cut(below, "/")
			if deeper {
				name += "/"
			}
			names[name] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), "\n"), len(names) > 0
}

// document is the instance identity document.
func (m *IMDS) document() string {
	return indented(struct {
		AccountID        string `json:"accountId"`
		Architecture     string `json:"architecture"`
		AvailabilityZone string `json:"availabilityZone"`
		ImageID          string `json:"imageId"`
		InstanceID       string `json:"instanceId"`
		InstanceType     string `json:"instanceType"`
		PendingTime      string `json:"pendingTime"`
		PrivateIP        string `json:"privateIp"`
		Region           string `json:"region"`
		Version          string `json:"version"`
	}{
		m.account.id, "x86_64", m.instance.AvailabilityZone, m.instance.ImageID, m.instance.ID, "t3.small",
		m.launched.Format(time.RFC3339), privateIP, m.instance.Region, "2017-09-30",
	})
}

// indented is the JSON text of a struct of strings, which always has one.
func indented(document any) string {
	text, _ := json.MarshalIndent(document, "", "  ")
	return string(text)
}
