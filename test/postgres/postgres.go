// Package postgres starts a real PostgreSQL server for tests.
//
// A Server is one `postgres` process with a cluster of its own, listening on a
// loopback port and on a Unix socket in a directory of its own, so that it can
// be stopped and started again on the same addresses with the same content.
// Both want a password (SCRAM), from the superuser too: Vault's database
// engine, and what it hands out, log in as they would elsewhere.
//
// The programs are those of Debian's package, which test/setup.sh installs
// without a cluster. PostgreSQL refuses to run as root: where the tests do, it
// runs as the package's own user.
package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/test/daemon"
)

// ErrMissing says that a program is not installed.
var ErrMissing = errors.New("not installed: run `make setup`")

// Superuser is the role that may do everything. Its password is another one
// in each Server.
const Superuser = "superuser"

// Limits of one start and of one stop.
const (
	startTimeout = time.Minute
	stopTimeout  = 20 * time.Second
)

// Server is a PostgreSQL server. Its methods must not be called concurrently,
// except for Query and those that only say where it is.
type Server struct {
	programs string // the directory of postgres, initdb and psql
	dir      string
	owner    *owner // whom the processes run as
	address  string // of the loopback listener
	password string
	process  *daemon.Daemon // nil before the first start
}

// Start makes a cluster, starts a server on it and waits until it answers.
// ctx bounds the start, not the life of the server: end that with Remove.
func Start(ctx context.Context) (_ *Server, err error) {
	s := &Server{password: rand.Text()}
	if s.programs, err = programs(); err != nil {
		return nil, err
	}
	if s.owner, err = unprivileged(os.Geteuid()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Remove(context.WithoutCancel(ctx)))
		}
	}()
	if err := s.makeDirectory(); err != nil {
		return nil, err
	}
	if err := s.initialise(ctx); err != nil {
		return nil, err
	}
	if s.address, err = daemon.FreeAddress(); err != nil {
		return nil, fmt.Errorf("choose an address for PostgreSQL: %w", err)
	}
	return s, s.Restart(ctx)
}

// makeDirectory makes the server's own directory, where any user may pass, and in it the directory of
// the socket, which every user may enter: a container that mounts it has
// users of its own.
func (s *Server) makeDirectory() (err error) {
	if s.dir, err = os.MkdirTemp("/var/tmp", "quaymaster-postgres-"); err != nil {
		return fmt.Errorf("make PostgreSQL's directory: %w", err)
	}
	if err := os.Mkdir(s.SocketDir(), 0o755); err != nil {
		return fmt.Errorf("make the directory of PostgreSQL's socket: %w", err)
	}
	for _, dir := range []string{s.dir, s.SocketDir()} {
		if err := errors.Join(os.Chmod(dir, 0o755), s.owner.give(dir)); err != nil {
			return fmt.Errorf("let PostgreSQL use its directory: %w", err)
		}
	}
	return nil
}

// initialise makes the cluster. It is not synced to the disk: no test needs
// it after a power cut.
func (s *Server) initialise(ctx context.Context) error {
	if err := os.WriteFile(s.file("password"), []byte(s.password), 0o600); err != nil {
		return fmt.Errorf("write the superuser's password: %w", err)
	}
	if err := s.owner.give(s.file("password")); err != nil {
		return fmt.Errorf("let initdb read the superuser's password: %w", err)
	}
	cmd := s.command(ctx, "initdb", "--pgdata="+s.file("data"), "--username="+Superuser, "--pwfile="+s.file("password"),
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make a PostgreSQL cluster: %w:\n%s", err, said)
	}
	if err := os.Remove(s.file("password")); err != nil {
		return fmt.Errorf("remove the superuser's password: %w", err)
	}
	return nil
}

// command is a program of PostgreSQL, run as the server's user with none of
// the environment of whoever runs the tests: PG* variables would lead it
// elsewhere.
func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.programs, program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.SysProcAttr = s.owner.attributes()
	return cmd
}

// Restart stops the server, if it runs, and starts it on the same addresses
// with the same content.
func (s *Server) Restart(ctx context.Context) (err error) {
	if err := s.Stop(ctx); err != nil {
		return err
	}
	// The process outlives ctx.
	cmd := s.command(context.Background(), "postgres", "-D", s.file("data"), "-p", s.Port(),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="+s.SocketDir(),
		"-c", "max_connections=200", "-c", "fsync=off", "-c", "log_connections=on", "-c", "log_disconnections=on")
	if s.process, err = daemon.Start(cmd, s.LogFile()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return s.process.Until(ctx, func(ctx context.Context) error {
		_, err := s.Query(ctx, "SELECT 1")
		return err
	})
}

// Stop ends the server and every session with it (SIGINT, a fast shutdown)
// and waits. Its addresses refuse connections until Restart.
func (s *Server) Stop(ctx context.Context) error {
	if s.process == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	// On SIGTERM, which daemon.Stop sends, it would wait for its sessions.
	if err := s.process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.process.Exited():
		return nil
	case <-ctx.Done():
		return s.process.Stop(ctx)
	}
}

// Remove stops the server, if it runs, and deletes its directory.
func (s *Server) Remove(ctx context.Context) error {
	return errors.Join(s.Stop(ctx), os.RemoveAll(s.dir))
}

// Address is host:port of the loopback listener.
func (s *Server) Address() string { return s.address }

// Port is that of the loopback listener, and part of the socket's name.
func (s *Server) Port() string {
	_, port, _ := net.SplitHostPort(s.address) // FreeAddress made it
	return port
}

// SocketDir is the directory of the Unix socket, which clients take for a
// host. It holds nothing else.
func (s *Server) SocketDir() string { return s.file("socket") }

// ConnectionURL is what Vault's database engine wants: the place of the
// server, with templates for the user and the password.
func (s *Server) ConnectionURL() string {
	return "postgresql://{{username}}:{{password}}@" + s.Address() + "/postgres?sslmode=disable"
}

// Password is the superuser's.
func (s *Server) Password() string { return s.password }

// LogFile holds the server's output over all its restarts: who connected, and
// what failed.
func (s *Server) LogFile() string { return s.file("postgres.log") }

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

// Query runs SQL as the superuser and returns the rows: columns separated by
// "|", one row a line. Several statements run in one transaction.
func (s *Server) Query(ctx context.Context, sql string) (string, error) {
	return s.QueryAs(ctx, Superuser, s.password, sql)
}

// QueryAs is Query as any role.
func (s *Server) QueryAs(ctx context.Context, user, password, sql string) (string, error) {
	cmd := s.command(ctx, "psql", "--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align",
		"--set=ON_ERROR_STOP=1", "--host=127.0.0.1", "--port="+s.Port(), "--username="+user, "--dbname=postgres", "--command="+sql)
	cmd.Env = append(cmd.Env, "PGPASSWORD="+password, "PGCONNECT_TIMEOUT=10")
	var rows, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &rows, &talk
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("query PostgreSQL as %s: %w: %s", user, err, strings.TrimSpace(talk.String()))
	}
	return strings.TrimSpace(rows.String()), nil
}

// Exists reports whether there is a role of that name.
func (s *Server) Exists(ctx context.Context, role string) (bool, error) {
	n, err := s.Query(ctx, "SELECT count(*) FROM pg_roles WHERE rolname = '"+strings.ReplaceAll(role, "'", "''")+"'")
	return n == "1", err
}
