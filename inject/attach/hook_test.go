package attach

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
)

// hookVariable makes the test's own program an OCI hook that mounts the tree
// that the variable names.
const hookVariable = "QUAYMASTER_TEST_HOOK_TREE"

// hook is what a createRuntime hook does: it reads the state of the container
// (OCI runtime specification, runtime.md, State) from stdin.
func hook() int {
	var state struct {
		PID    int    `json:"pid"`
		Bundle string `json:"bundle"`
	}
	err := json.NewDecoder(os.Stdin).Decode(&state)
	if err == nil {
		err = New().AttachAt(context.Background(), state.PID, state.Bundle+"/rootfs", os.Getenv(hookVariable), "/run/secrets")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
