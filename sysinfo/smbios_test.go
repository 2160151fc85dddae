package sysinfo

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/u-root/u-root/pkg/smbios"
)

// TestIdentityOfSMBIOSTables has real tables, which the u-root module keeps for
// its own tests, shown as the kernel's dmi-id driver shows them in sysfs.
func TestIdentityOfSMBIOSTables(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/u-root/u-root").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "pkg/smbios/testdata")
	const entryPoint = 32 // bytes before the tables
	for _, tt := range []struct {
		file string
		want Identity
	}{
		{"satellite_pro_l70_testdata.bin", Identity{Serial: "XD198915C", Source: FirmwareSN, Product: "SATELLITE PRO L70-A", Vendor: "TOSHIBA", Board: "Type2 - Board Product Name1"}},
		{"smbios_table.bin", Identity{Serial: "PF1NKFHN", Source: FirmwareSN, Product: "20N2CTO1WW", Vendor: "LENOVO", Board: "20N2CTO1WW"}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, tt.file))
			if err != nil {
				t.Fatal(err)
			}
			info := new(smbios.Info)
			for data = data[entryPoint:]; len(data) > 0; {
				table, rest, err := smbios.ParseTable(data)
				if table == nil {
					t.Fatal(err)
				}
				info.Tables, data = append(info.Tables, table), rest
			}
			root := t.TempDir()
			showDMI(t, root, info)
			if got, _ := (Machine{Root: root}).Identity(); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// showDMI writes the files of /sys/class/dmi/id (drivers/firmware/dmi-id.c).
func showDMI(t *testing.T, root string, info *smbios.Info) {
	t.Helper()
	system, err := info.GetSystemInfo()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"sys_vendor": system.Manufacturer, "product_name": system.ProductName, "product_version": system.Version,
		"product_serial": system.SerialNumber, "product_uuid": system.UUID.String(), "product_family": system.Family,
	}
	boards, err := info.GetBaseboardInfo()
	if err == nil && len(boards) > 0 {
		files["board_vendor"], files["board_name"], files["board_serial"] = boards[0].Manufacturer, boards[0].Product, boards[0].SerialNumber
	}
	dir := filepath.Join(root, "sys/class/dmi/id")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, value := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value+"\n"), 0o444); err != nil {
			t.Fatal(err)
		}
	}
}
