package awssim

import (
	"crypto/subtle"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/quaymaster/quaymaster/internal/cloudsim"
)

// Task is a task of Elastic Container Service.
type Task struct {
	Region, AvailabilityZone string
	Role                     string // of the account
	// Authorization is what a caller must send in that header, as the local
	// endpoints want it that AWS_CONTAINER_AUTHORIZATION_TOKEN is for. Empty:
	// nothing, as ECS's own agent does.
	Authorization string
}

// TaskMetadata is what the ECS agent of a host answers to the containers of one
// task: the role's keys, where AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or
// …_FULL_URI points, and metadata of version 4, where
// ECS_CONTAINER_METADATA_URI_V4 does. It may be used by several goroutines, and
// every switch changed while it serves.
type TaskMetadata struct {
	cloudsim.Faults   // by URL path
	cloudsim.Requests // the operation is the HTTP method, the path is the URL's

	account *Account
	id      string

	mu   sync.Mutex
	task Task
	role roleKeys
}

// NewTaskMetadata returns the endpoint of a task that runs in account.
func NewTaskMetadata(account *Account, task Task) *TaskMetadata {
	return &TaskMetadata{account: account, task: task, id: account.env.Text(cloudsim.Hex, 32), role: roleKeys{lifetime: 6 * time.Hour}}
}

// CredentialsPath is the value of AWS_CONTAINER_CREDENTIALS_RELATIVE_URI.
func (m *TaskMetadata) CredentialsPath() string { return "/v2/credentials/" + m.id }

// MetadataPath is the path of ECS_CONTAINER_METADATA_URI_V4.
func (m *TaskMetadata) MetadataPath() string { return "/v4/" + m.id + "-1" }

// ARN names the task.
func (m *TaskMetadata) ARN() string {
	return fmt.Sprintf("arn:aws:ecs:%s:%s:task/shop/%s", m.task.Region, m.account.id, m.id)
}

// SetAuthorization changes what callers must send.
func (m *TaskMetadata) SetAuthorization(token string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.task.Authorization = token
}

// SetExpired makes the endpoint hand out keys that have ended, or stop doing so.
func (m *TaskMetadata) SetExpired(expired bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.role.expired, m.role.keys = expired, Keys{}
}

// Rotate makes the endpoint hand out new keys. The old ones are good until
// they expire.
func (m *TaskMetadata) Rotate() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.role.keys = Keys{}
}

// ServeHTTP implements http.Handler.
func (m *TaskMetadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.Record(r.Method, r.URL.Path)
	if m.Strike(w, r, r.URL.Path) {
		return
	}
	status, content := m.answer(r)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	io.WriteString(w, content) // a client that went away needs no answer
}

func (m *TaskMetadata) answer(r *http.Request) (status int, content string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch r.URL.Path {
	case m.CredentialsPath():
		return m.keys(r.Header.Get("Authorization"))
	case m.MetadataPath() + "/task":
		return http.StatusOK, indented(struct{ TaskARN, AvailabilityZone, LaunchType string }{m.ARN(), m.task.AvailabilityZone, "EC2"})
	}
	return http.StatusBadRequest, refusedByAgent("InvalidIdInRequest", "CredentialsV2Request: Credentials not found")
}

func (m *TaskMetadata) keys(authorization string) (status int, content string) {
	if subtle.ConstantTimeCompare([]byte(authorization), []byte(m.task.Authorization)) == 0 {
		return http.StatusUnauthorized, refusedByAgent("AccessDeniedException", "the authorization token is not valid")
	}
	role, found := m.account.role(m.task.Role)
	if !found || m.role.renew(m.account, m.task.Role, m.id) != nil {
		return http.StatusInternalServerError, refusedByAgent("NoCredentials", "CredentialsV2Request: Credentials uninitialized for ID")
	}
	k := m.role.keys
	return http.StatusOK, indented(struct {
		RoleArn, SecretAccessKey, Token, Expiration string
		AccessKeyID                                 string `json:"AccessKeyId"`
	}{role.arn, k.SecretAccessKey, k.SessionToken, k.Expires.Format(time.RFC3339), k.AccessKeyID})
}

func refusedByAgent(code, message string) string {
	return indented(struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{code, message})
}
