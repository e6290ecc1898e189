package aws

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/quaymaster/quaymaster/auth"
	"github.com/quaymaster/quaymaster/auth/internal/imds"
)

// regionName is what all regions of all partitions look like so far.
var regionName = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]+$`)

func looksLikeRegion(name string) bool { return regionName.MatchString(name) }

// partition follows the names of regions, as AWS documents them under "Amazon
// Resource Names".
func partition(region string) string {
	for _, p := range [][2]string{
		{"cn-", "aws-cn"}, {"us-gov-", "aws-us-gov"}, {"us-iso-", "aws-iso"}, {"us-isob-", "aws-iso-b"},
		{"us-isof-", "aws-iso-f"}, {"eu-isoe-", "aws-iso-e"}, {"eusc-", "aws-eusc"},
	} {
		if strings.HasPrefix(region, p[0]) {
			return p[1]
		}
	}
	return "aws"
}

// regionIn is the region that the name of an STS host carries, if it does, as
// in vpce-0abc-1.sts.eu-west-1.vpce.amazonaws.com.
func regionIn(host string) string {
	labels := strings.Split(host, ".")
	for i, label := range labels[1:] {
		if before := labels[i]; (before == "sts" || before == "sts-fips") && looksLikeRegion(label) {
			return label
		}
	}
	return ""
}

// HostRegion is the region that this machine is in: what AWS_REGION or
// AWS_DEFAULT_REGION says, else what ECS says of the task, else what the EC2
// instance's metadata says. An error wraps auth.ErrNoIdentity or
// auth.ErrUnavailable.
func HostRegion(ctx context.Context) (string, error) {
	if region := cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")); region != "" {
		if !looksLikeRegion(region) {
			return "", fmt.Errorf("AWS_REGION %q: write a region of AWS, as in eu-west-1: %w", region, auth.ErrNoIdentity)
		}
		return region, nil
	}
	ctx, cancel := context.WithTimeout(ctx, attestTimeout)
	defer cancel()
	if base := os.Getenv("ECS_CONTAINER_METADATA_URI_V4"); base != "" {
		return taskRegion(ctx, base)
	}
	service, err := newMetadata(time.Now)
	if err != nil {
		return "", err
	}
	document, err := service.client.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		return "", service.explain(ctx, "reading the instance identity document", err)
	}
	return document.Region, nil
}

// taskRegion asks ECS for the task, whose ARN names the region: "Task metadata
// endpoint version 4" in the ECS Developer Guide.
func taskRegion(ctx context.Context, base string) (string, error) {
	where := "reading the task from ECS_CONTAINER_METADATA_URI_V4"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/task", nil)
	if err != nil {
		return "", fmt.Errorf("%s: %w: %w", where, err, auth.ErrNoIdentity)
	}
	answer, err := imds.NewClient().Do(request)
	if err != nil {
		return "", fmt.Errorf("%s: %w: %w", where, err, auth.ErrUnavailable)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", fmt.Errorf("%s: %w: %w", where, err, auth.ErrUnavailable)
	}
	var task struct{ TaskARN string }
	if answer.StatusCode != http.StatusOK || json.Unmarshal(body, &task) != nil {
		return "", fmt.Errorf("%s: it answers %d, and no task: %w", where, answer.StatusCode, auth.ErrUnavailable)
	}
	parts := strings.Split(task.TaskARN, ":") // arn:aws:ecs:REGION:ACCOUNT:task/…
	if len(parts) < 6 || !looksLikeRegion(parts[3]) {
		return "", fmt.Errorf("%s: the task's ARN %q names no region: set AWS_REGION: %w", where, task.TaskARN, auth.ErrNoIdentity)
	}
	return parts[3], nil
}
