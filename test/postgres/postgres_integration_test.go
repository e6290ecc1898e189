//go:build integration

package postgres

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func query(t *testing.T, s *Server, sql string) string {
	t.Helper()
	rows, err := s.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%v\n%s", err, read(t, s.LogFile()))
	}
	return rows
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestContentSurvivesAnOutage also tells the two listeners apart.
func TestContentSurvivesAnOutage(t *testing.T) {
	s := ForTest(t)
	query(t, s, "CREATE TABLE stock (name text, pieces int); INSERT INTO stock VALUES ('tea', 3), ('cups', 12)")
	address := s.Address()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Query(t.Context(), "SELECT 1"); err == nil {
		t.Fatal("a stopped server answers")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Address() != address {
		t.Errorf("the address changed from %s to %s", address, s.Address())
	}
	if got := query(t, s, "SELECT * FROM stock ORDER BY pieces"); got != "tea|3\ncups|12" {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(fmt.Sprintf("%s/.s.PGSQL.%s", s.SocketDir(), s.Port())); err != nil {
		t.Errorf("no socket: %v", err)
	}
}

func TestRolesNeedTheirPassword(t *testing.T) {
	s := ForTest(t)
	query(t, s, "CREATE ROLE shop LOGIN PASSWORD 'right'")
	if got, err := s.QueryAs(t.Context(), "shop", "right", "SELECT current_user"); err != nil || got != "shop" {
		t.Errorf("got %q, %v", got, err)
	}
	for user, password := range map[string]string{"shop": "wrong", Superuser: "", "nobody": "right"} {
		if _, err := s.QueryAs(t.Context(), user, password, "SELECT 1"); err == nil || !strings.Contains(err.Error(), "query PostgreSQL as "+user) {
			t.Errorf("%s with password %q: %v", user, password, err)
		}
	}
	for role, want := range map[string]bool{"shop": true, "nobody": false} {
		if got, err := s.Exists(t.Context(), role); err != nil || got != want {
			t.Errorf("%s exists: %v, %v", role, got, err)
		}
	}
}

func TestRemoveLeavesNothing(t *testing.T) {
	s, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
	select {
	case <-s.process.Exited():
	default:
		t.Error("the process still runs")
	}
}
