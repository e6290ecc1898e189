package azuresim

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// Identity is a managed identity: one of its own (user-assigned), or one that
// comes and goes with a machine or scale set (system-assigned).
type Identity struct {
	ResourceID            string // its own, or that of the machine or scale set
	ClientID, PrincipalID string
	system                bool
}

// Machine is a virtual machine, alone or in a scale set.
type Machine struct {
	Subscription, ResourceGroup, Name, Location string
	// ScaleSet is the scale set that the machine is in; empty: none.
	ScaleSet string
	// Flexible says how that scale set is orchestrated. In a uniform one,
	// machines are numbered, and an identity of the system's is the set's.
	Flexible bool
	// Environment is what it says is the cloud's name; empty: what that is.
	Environment string
	// SystemAssigned gives it an identity of its own.
	SystemAssigned bool
	UserAssigned   []Identity
	Tags           map[string]string
	UserData       string // as it is, not in base64; empty: none
	MAC            string // of its network interface; empty: MAC below
}

// MAC is what a machine's network interface has that says nothing else.
const MAC = "00:0d:3a:00:00:10"

// resource is one that Resource Manager tells about.
type resource struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Identity   *resourceIdentity `json:"identity,omitempty"`
	Properties map[string]any    `json:"properties"`
}

type resourceIdentity struct {
	Type         string                  `json:"type"`
	PrincipalID  string                  `json:"principalId,omitempty"`
	TenantID     string                  `json:"tenantId,omitempty"`
	UserAssigned map[string]userAssigned `json:"userAssignedIdentities,omitempty"`
}

// userAssigned is empty where Resource Manager does not tell.
type userAssigned struct {
	PrincipalID string `json:"principalId,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
}

const (
	machineType  = "Microsoft.Compute/virtualMachines"
	scaleSetType = "Microsoft.Compute/virtualMachineScaleSets"
	identityType = "Microsoft.ManagedIdentity/userAssignedIdentities"
)

func resourceID(subscription, group, kind, name string) string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/%s/%s", subscription, group, kind, name)
}

// AddIdentity creates a user-assigned identity.
func (t *Tenant) AddIdentity(subscription, group, name string) Identity {
	made := Identity{
		ResourceID: resourceID(subscription, group, identityType, name),
		ClientID:   t.cloud.env.UUID(), PrincipalID: t.cloud.env.UUID(),
	}
	t.put(resource{ID: made.ResourceID, Name: name, Type: identityType, Location: "westeurope", Properties: map[string]any{
		"tenantId": t.id, "principalId": made.PrincipalID, "clientId": made.ClientID,
	}})
	return made
}

// AddMachine creates a machine, and its scale set as one that has this machine
// only. It returns the machine's metadata service.
func (t *Tenant) AddMachine(m Machine) *IMDS {
	identities := m.UserAssigned
	if m.SystemAssigned {
		own := Identity{ResourceID: m.ownerID(), ClientID: t.cloud.env.UUID(), PrincipalID: t.cloud.env.UUID(), system: true}
		identities = append([]Identity{own}, identities...)
	}
	kind := machineType
	if m.ScaleSet != "" {
		kind = scaleSetType
		t.put(resource{ID: m.setID(), Name: m.ScaleSet, Type: kind, Location: m.Location,
			Identity: t.identitiesOf(identities, !m.Flexible), Properties: map[string]any{"orchestrationMode": m.orchestration()}})
	}
	if m.ScaleSet == "" || m.Flexible {
		t.put(resource{ID: m.id(), Name: m.Name, Type: machineType, Location: m.Location,
			Identity: t.identitiesOf(identities, true), Properties: map[string]any{"provisioningState": "Succeeded"}})
	}
	return &IMDS{tenant: t, machine: m, vmID: t.cloud.env.UUID(), identities: identities, lifetime: 24 * time.Hour}
}

// id is the machine's resource ID.
func (m Machine) id() string {
	if m.ScaleSet == "" || m.Flexible {
		return resourceID(m.Subscription, m.ResourceGroup, machineType, m.Name)
	}
	number := m.Name[strings.LastIndex(m.Name, "_")+1:] // machines of a uniform set are called set_number
	return path.Join(m.setID(), "virtualMachines", number)
}

func (m Machine) setID() string {
	return resourceID(m.Subscription, m.ResourceGroup, scaleSetType, m.ScaleSet)
}

// ownerID is whose an identity of the system's is.
func (m Machine) ownerID() string {
	if m.ScaleSet != "" && !m.Flexible {
		return m.setID()
	}
	return m.id()
}

func (m Machine) orchestration() string {
	if m.Flexible {
		return "Flexible"
	}
	return "Uniform"
}

// identitiesOf tells about identities; nil when there are none. A scale set of
// flexible orchestration does not know the IDs of those it names.
func (t *Tenant) identitiesOf(identities []Identity, told bool) *resourceIdentity {
	if len(identities) == 0 {
		return nil
	}
	var kinds []string
	all := &resourceIdentity{UserAssigned: map[string]userAssigned{}}
	for _, identity := range identities {
		switch {
		case identity.system:
			all.PrincipalID, all.TenantID = identity.PrincipalID, t.id
			kinds = append(kinds, "SystemAssigned")
		case told:
			all.UserAssigned[identity.ResourceID] = userAssigned{identity.PrincipalID, identity.ClientID}
		default:
			all.UserAssigned[identity.ResourceID] = userAssigned{}
		}
	}
	if len(all.UserAssigned) > 0 {
		kinds = append(kinds, "UserAssigned")
	}
	all.Type = strings.Join(kinds, ", ")
	return all
}

func (t *Tenant) put(r resource) {
	t.cloud.mu.Lock()
	defer t.cloud.mu.Unlock()
	t.resources[strings.ToLower(r.ID)] = r
}
