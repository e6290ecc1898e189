package vaultsim

import "time"

// answerV1 answers version 1 of the engine, where the fields are the body.
func (m *mount) answerV1(q question, name string, now time.Time) (*answer, error) {
	switch q.operation {
	case "update":
		if len(q.body) == 0 {
			return nil, badRequest("missing data fields")
		}
		m.put(name, q.body, now)
		return nil, nil
	case "delete":
		delete(m.secrets, name)
		return nil, nil
	}
	secret := m.secrets[name]
	if secret == nil {
		return nil, notFound("")
	}
	return &answer{Data: secret.versions[0].fields, LeaseDuration: int(systemTTL.Seconds()), MountType: "kv"}, nil
}
