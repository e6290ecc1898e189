package detect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// azureAssetTag is what Azure's hypervisor writes into every machine, and other
// machines by Microsoft's hypervisor do not have (Azure's documentation of
// instance metadata, and cloud-init's ds-identify).
const azureAssetTag = "7783-7084-3265-9085-8269-3286-77"

// signs are what clouds write into firmware: a file of the kernel's DMI
// directory, and how its content begins, in lower case.
var signs = []struct {
	cloud        Cloud
	file, prefix string
}{
	{AWS, "sys_vendor", "amazon ec2"},
	{AWS, "product_uuid", "ec2"}, // Xen instances; the documented way to identify them
	{AWS, "bios_version", "4.2.amazon"},
	{Azure, "chassis_asset_tag", azureAssetTag},
	{GCP, "product_name", "google compute engine"},
}

// firmware reads the DMI tables, which Linux shows as files.
func firmware(dir string) finding {
	if dir == "" {
		dir = "/sys/class/dmi/id"
	}
	f := finding{place: "firmware (" + dir + ")"}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		f.why = "there are no tables"
		return f
	}
	for _, sign := range signs {
		content, err := os.ReadFile(filepath.Join(dir, sign.file))
		if err != nil {
			continue // product_uuid is for root only, and not every machine has every table
		}
		if strings.HasPrefix(strings.ToLower(strings.TrimSpace(string(content))), sign.prefix) {
			f.cloud, f.why = sign.cloud, fmt.Sprintf("%s says %s", sign.file, sign.cloud)
			return f
		}
	}
	vendor, _ := os.ReadFile(filepath.Join(dir, "sys_vendor")) // none is as good as an unknown one
	f.why = fmt.Sprintf("the vendor %q is no cloud that is known", strings.TrimSpace(string(vendor)))
	return f
}
