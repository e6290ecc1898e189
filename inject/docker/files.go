package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/quaymaster/quaymaster/broker/workload"
)

// containerFile is the part that matters of config.v2.json, which moby keeps
// beside a container's hosts file (moby daemon/container/container.go). The
// format is the engine's own and may change, so this is the last resort, and
// what is missing in it is an error.
type containerFile struct {
	ID     string
	Name   string
	Image  string // the image's ID
	Config *struct {
		Image  string // the reference
		Labels map[string]string
	}
}

// readContainerFile learns from the engine's own file what the API does not
// say now: while the engine restores containers at its start, the API hangs.
func readContainerFile(engineDir, id string) (workload.Facts, error) {
	if engineDir == "" {
		return workload.Facts{}, errors.New("the engine's directory for the container is not known either")
	}
	file := filepath.Join(engineDir, "config.v2.json")
	content, err := os.ReadFile(file)
	if err != nil {
		return workload.Facts{}, fmt.Errorf("read the engine's own file: %w", err)
	}
	var c containerFile
	if err := json.Unmarshal(content, &c); err != nil {
		return workload.Facts{}, fmt.Errorf("read the engine's own file %s: %w", file, err)
	}
	if c.ID != id || c.Config == nil || c.Image == "" {
		return workload.Facts{}, fmt.Errorf("the engine's own file %s is not about container %s in a form that is known", file, id)
	}
	return workload.Facts{
		ID: id, Name: strings.TrimPrefix(c.Name, "/"), Image: c.Config.Image, ImageID: c.Image, Labels: c.Config.Labels,
	}, nil
}

// readImageFile reads the labels of an image from the engine's image store
// (the classic one: image/<driver>/imagedb/content/sha256/<id> below its data
// root). An image ID is the digest of that file, so the content proves itself.
func readImageFile(engineDir, imageID string) (map[string]string, error) {
	digest, isSHA256 := strings.CutPrefix(imageID, "sha256:")
	if engineDir == "" || !isSHA256 || len(digest) != 64 || strings.ContainsAny(digest, "/.*?[") {
		return nil, fmt.Errorf("the engine does not answer and its files for image %q are not known", imageID)
	}
	dataRoot := filepath.Dir(filepath.Dir(engineDir)) // <data root>/containers/<ID>
	files, err := filepath.Glob(filepath.Join(dataRoot, "image", "*", "imagedb", "content", "sha256", digest))
	if err != nil {
		return nil, fmt.Errorf("look for the engine's file of image %s: %w", imageID, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("the engine does not answer and keeps no file of image %s below %s", imageID, dataRoot)
	}
	file := files[0] // an engine has one storage driver in use; of a second one the content is the same
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the engine's file of an image: %w", err)
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("the engine's file %s is not what its name says", file)
	}
	var image struct {
		Config struct{ Labels map[string]string } `json:"config"`
	}
	if err := json.Unmarshal(content, &image); err != nil {
		return nil, fmt.Errorf("read the engine's file %s: %w", file, err)
	}
	return image.Config.Labels, nil
}
