package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"
)

// platformVersion is the first version of the API that inspects one platform's
// part of an image.
const platformVersion = "1.49"

// imageLabels returns the labels that an image brings along: those of the
// platform that the container is of, because another platform's may be other
// ones, and would let what an image says of itself pass for the container's own.
func (e *Engine) imageLabels(ctx context.Context, i imageRef) (map[string]string, error) {
	e.mu.Lock()
	labels, known := e.images[i.key()]
	e.mu.Unlock()
	if known {
		return labels, nil
	}
	e.api.NegotiateAPIVersion(ctx)
	var options []client.ImageInspectOption
	if i.manifest != nil && i.manifest.Platform != nil && versions.GreaterThanOrEqualTo(e.api.ClientVersion(), platformVersion) {
		options = append(options, client.ImageInspectWithPlatform(i.manifest.Platform))
	}
	answer, err := e.api.ImageInspect(ctx, i.id, options...)
	if err != nil {
		return nil, fmt.Errorf("inspect image %s: %w", i.id, err)
	}
	if err := i.check(answer); err != nil {
		return nil, err
	}
	if answer.Config != nil {
		labels = answer.Config.Labels
	}
	return labels, nil
}

// check reports that the answer is about another platform than the container's.
func (i imageRef) check(answer image.InspectResponse) error {
	if i.manifest == nil || i.manifest.Platform == nil {
		return nil
	}
	if p := i.manifest.Platform; answer.Os != p.OS || answer.Architecture != p.Architecture {
		return fmt.Errorf("the engine describes image %s for %s/%s, not for %s/%s", i.id, answer.Os, answer.Architecture, p.OS, p.Architecture)
	}
	return nil
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
