package postgres

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// programs is the directory of PostgreSQL's programs: Debian keeps one for
// each major version, none of them on PATH. The newest that is whole wins.
func programs() (string, error) {
	servers, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // a constant pattern cannot be bad
	major := func(server string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(server)))) // what is no number is oldest
		return n
	}
	slices.SortFunc(servers, func(a, b string) int { return major(b) - major(a) })
	for _, server := range servers {
		if _, err := os.Stat(filepath.Join(filepath.Dir(server), "psql")); err == nil {
			return filepath.Dir(server), nil
		}
	}
	return "", fmt.Errorf("PostgreSQL with psql: %w", ErrMissing)
}

// owner is the user whom PostgreSQL runs as; nil: whoever runs the tests.
type owner struct{ uid, gid uint32 }

// unprivileged is the user for a test that runs as uid: Debian's package made
// one for this.
func unprivileged(uid int) (*owner, error) {
	if uid != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("the user for PostgreSQL, which does not run as root: %w: %w", ErrMissing, err)
	}
	own, errUID := strconv.ParseUint(account.Uid, 10, 32)
	group, errGID := strconv.ParseUint(account.Gid, 10, 32)
	if errUID != nil || errGID != nil {
		return nil, fmt.Errorf("the user postgres is %s:%s, which are no numbers", account.Uid, account.Gid)
	}
	return &owner{uid: uint32(own), gid: uint32(group)}, nil
}

// give makes path the owner's.
func (o *owner) give(path string) error {
	if o == nil {
		return nil
	}
	return os.Chown(path, int(o.uid), int(o.gid))
}

// attributes start a process as the owner, without any other group.
func (o *owner) attributes() *syscall.SysProcAttr {
	if o == nil {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: o.uid, Gid: o.gid}}
}
