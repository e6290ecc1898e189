package broker

import (
	"strings"
	"testing"

	"github.com/quaymaster/quaymaster/broker/workload"
	"github.com/quaymaster/quaymaster/inject"
)

func TestOnHost(t *testing.T) {
	remap := []inject.IDMap{{Container: 0, Host: 231072, Size: 65536}}
	split := []inject.IDMap{{Container: 0, Host: 100000, Size: 1000}, {Container: 1000, Host: 1000, Size: 1}, {Container: 2000, Host: 200000, Size: 10}}
	top := []inject.IDMap{{Container: 4294967290, Host: 10, Size: 5}}
	for name, c := range map[string]struct {
		maps   []inject.IDMap
		id     uint32
		want   uint32
		mapped bool
	}{
		"no namespace":               {nil, 999, 999, true},
		"root of a namespace":        {remap, 0, 231072, true},
		"last of a namespace":        {remap, 65535, 296607, true},
		"one beyond":                 {remap, 65536, 0, false},
		"first line":                 {split, 999, 100999, true},
		"second line":                {split, 1000, 1000, true},
		"between two lines":          {split, 1001, 0, false},
		"third line":                 {split, 2009, 200009, true},
		"an empty line maps nothing": {[]inject.IDMap{{Container: 5, Host: 5}}, 5, 0, false},
		"the highest numbers":        {top, 4294967294, 14, true},
		"below the highest":          {top, 4294967289, 0, false},
		"beyond the highest":         {top, 4294967295, 0, false},
	} {
		if got, mapped := onHost(c.maps, c.id); got != c.want || mapped != c.mapped {
			t.Errorf("%s: %d is %d, %v; want %d, %v", name, c.id, got, mapped, c.want, c.mapped)
		}
	}
}

func TestOwnerOf(t *testing.T) {
	remap := []inject.IDMap{{Container: 0, Host: 100000, Size: 1000}}
	other := []inject.IDMap{{Container: 0, Host: 300000, Size: 1000}}
	for name, c := range map[string]struct {
		arrival inject.Arrival
		label   *workload.User
		want    inject.Owner
		refused string
	}{
		"process user":        {inject.Arrival{User: &inject.Owner{UID: 7, GID: 8}}, nil, inject.Owner{UID: 7, GID: 8}, ""},
		"owner label":         {inject.Arrival{User: &inject.Owner{UID: 7, GID: 8}}, &workload.User{UID: 70, GID: 71}, inject.Owner{UID: 70, GID: 71}, ""},
		"mapped process user": {inject.Arrival{User: &inject.Owner{UID: 7, GID: 8}, UIDMap: remap, GIDMap: other}, nil, inject.Owner{UID: 100007, GID: 300008}, ""},
		"mapped owner label": {inject.Arrival{User: &inject.Owner{UID: 5000}, UIDMap: remap, GIDMap: other}, &workload.User{UID: 70, GID: 71},
			inject.Owner{UID: 100070, GID: 300071}, ""},
		"user not mapped":  {inject.Arrival{User: &inject.Owner{UID: 1000, GID: 8}, UIDMap: remap, GIDMap: other}, nil, inject.Owner{}, "user 1000:8 does not exist"},
		"group not mapped": {inject.Arrival{User: &inject.Owner{UID: 7, GID: 1000}, UIDMap: remap, GIDMap: other}, nil, inject.Owner{}, "user 7:1000 does not exist"},
		"owner label not mapped": {inject.Arrival{User: &inject.Owner{UID: 7, GID: 8}, UIDMap: remap, GIDMap: other}, &workload.User{UID: 65534, GID: 65534},
			inject.Owner{}, "user 65534:65534 does not exist in its user namespace: choose another with the label quaymaster.owner"},
	} {
		got, err := ownerOf(c.arrival, workload.Wants{Owner: c.label})
		if got != c.want || (err == nil) != (c.refused == "") || (err != nil && !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestFits(t *testing.T) {
	file := workload.Want{Kind: workload.File, Name: "a"}
	variable := workload.Want{Kind: workload.Variable, Name: "A"}
	for name, c := range map[string]struct {
		mounts  []string
		memory  bool
		path    string
		wants   []workload.Want
		refused string
	}{
		"nothing in the way":      {[]string{"/proc", "/data"}, true, "/run/secrets", []workload.Want{file, variable}, ""},
		"above":                   {[]string{"/", "/run"}, true, "/run/secrets", []workload.Want{file}, ""},
		"beside":                  {[]string{"/run/secrets2", "/run/secret"}, true, "/run/secrets", []workload.Want{file}, ""},
		"at the place":            {[]string{"/data", "/run/secrets"}, true, "/run/secrets", []workload.Want{file}, "already mounts something at /run/secrets"},
		"at the place, unclean":   {[]string{"/run//secrets/"}, true, "/run/secrets", []workload.Want{file}, "already mounts something at /run/secrets"},
		"by another way":          {[]string{"/run/x/../secrets"}, true, "/run/secrets", []workload.Want{file}, "already mounts something at /run/secrets"},
		"below":                   {[]string{"/run/secrets/db/x"}, true, "/run/secrets", []workload.Want{file}, "already mounts something at /run/secrets"},
		"at the place of a label": {[]string{"/etc/shop"}, true, "/etc/shop", []workload.Want{file}, "choose another directory with the label quaymaster.path"},
		"in /proc":                {nil, true, "/proc/secrets", []workload.Want{file}, "nothing can be mounted inside /proc"},
		"variables alone":         {nil, true, "/proc/secrets", []workload.Want{variable}, ""},
		"beside /proc":            {nil, true, "/process", []workload.Want{file}, ""},
		"files need no memory":    {nil, false, "/run/secrets", []workload.Want{file}, ""},
		"variables do":            {nil, false, "/run/secrets", []workload.Want{file, variable}, "the variable A would be written to a disk"},
	} {
		err := fits(inject.Arrival{Mounts: c.mounts, MemoryOnly: c.memory}, workload.Wants{Path: c.path, Items: c.wants})
		if (err == nil) != (c.refused == "") || (err != nil && !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
