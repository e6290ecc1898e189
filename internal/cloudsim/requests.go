package cloudsim

import "sync"

// Requests counts what a server was asked. The zero value is ready; it may be
// used by several goroutines.
type Requests struct {
	mu sync.Mutex
	n  map[request]int
}

type request struct{ operation, path string }

// Record counts one request.
func (r *Requests) Record(operation, path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == nil {
		r.n = map[request]int{}
	}
	r.n[request{operation, path}]++
}

// Count is how often operation was asked for at path, whether it was answered,
// refused, or met a fault. An empty operation counts all operations.
func (r *Requests) Count(operation, path string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	total := 0
	for asked, n := range r.n {
		if asked.path == path && (operation == "" || asked.operation == operation) {
			total += n
		}
	}
	return total
}
