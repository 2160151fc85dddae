package config

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The files that the Raspberry Pi Imager customises a medium with, in the
// formats of cloud-init (cloudinit.readthedocs.io, "NoCloud" and "Networking
// config Version 2"). Load reads files of these names as such; nothing that
// they hold is ever executed.
const (
	UserDataFile      = "user-data"
	NetworkConfigFile = "network-config"
)

// maxCloudInit is the size of such a file that is read, in bytes. The Imager's
// have some hundreds.
const maxCloudInit = 64 << 10

// readUserData takes the host name. Accounts are refused, since there is nobody
// to log in as, and everything else is told to have been ignored.
func (c *Config) readUserData(path string, body []byte) error {
	if bytes.HasPrefix(body, []byte("#!")) {
		return fmt.Errorf("%s is a script, and no script of the medium is run here: want #cloud-config and settings such as hostname: NAME", path)
	}
	root, err := parseYAML(path, body)
	if err != nil {
		return err
	}
	var problems []error
	var ignored []string
	for key, value := range pairs(root) {
		at := fmt.Sprintf("%s:%d", path, key.Line)
		switch key.Value {
		case "hostname":
			if err := c.apply("appliance", "hostname", value.Value, at); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", at, err))
			}
		case "user", "users", "password", "chpasswd", "ssh_authorized_keys", "enable_ssh", "ssh_pwauth":
			if !off(value) {
				problems = append(problems, fmt.Errorf("%s: %s: a terminal has no users and no SSH: config password in the shell sets a password for its consoles", at, key.Value))
			}
		default:
			ignored = append(ignored, key.Value)
		}
	}
	if ignored != nil {
		c.Ignored = append(c.Ignored, fmt.Sprintf("%s: %.200s", path, strings.Join(ignored, ", ")))
	}
	return errors.Join(problems...)
}

// readNetworkConfig refuses what it cannot do, and that is all but DHCP on
// wired links, which needs no telling.
func (c *Config) readNetworkConfig(path string, body []byte) error {
	root, err := parseYAML(path, body)
	if err != nil {
		return err
	}
	for key, value := range pairs(root) {
		if key.Value == "network" {
			root = value // the Imager writes this level since its version 2
		}
	}
	var problems []error
	refuse := func(node *yaml.Node, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s:%d: "+format, append([]any{path, node.Line}, args...)...))
	}
	for key, links := range pairs(root) {
		switch key.Value {
		case "version", "renderer":
		case "ethernets":
			for link, settings := range pairs(links) {
				for setting, value := range pairs(settings) {
					if !ofDHCP(setting.Value, value) {
						refuse(setting, "%.40q of %.40q: links have DHCP here, or their address from [APPLIANCE] address in natrix.ini", setting.Value, link.Value)
					}
				}
			}
		case "wifis":
			for _, settings := range pairs(links) {
				for name := range pairs(child(settings, "access-points")) {
					refuse(name, "Wi-Fi network %.40q is not joined: there is no firmware for the radio in this image; plug in a cable", name.Value)
				}
			}
		default:
			refuse(key, "%.40q: no such links here", key.Value)
		}
	}
	return errors.Join(problems...)
}

// ofDHCP reports whether a setting of a link leaves it to DHCP.
func ofDHCP(name string, value *yaml.Node) bool {
	switch name {
	case "dhcp4":
		return !off(value)
	case "dhcp6", "optional":
		return true
	}
	return false
}

// parseYAML returns the mapping that a file is; it is nil for a file without
// settings. PID 1 reads these files, and would take the kernel down with it:
// what the parser panics over is an error as well.
func parseYAML(path string, body []byte) (root *yaml.Node, err error) {
	if len(body) > maxCloudInit {
		return nil, fmt.Errorf("%s: more than %d bytes", path, maxCloudInit)
	}
	defer func() {
		if p := recover(); p != nil {
			root, err = nil, fmt.Errorf("%s: not YAML: %v", path, p)
		}
	}()
	var document yaml.Node
	if err := yaml.Unmarshal(body, &document); err != nil {
		if strings.Contains(err.Error(), "unknown anchor") { // which may be a password
			err = errors.New("a value that begins with * needs quotes")
		}
		return nil, fmt.Errorf("%s: not YAML: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if document.Kind == 0 || document.Content[0].Tag == "!!null" {
		return nil, nil
	}
	if root = document.Content[0]; root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: want settings such as hostname: NAME", path, root.Line)
	}
	return root, nil
}

// pairs are the settings of a mapping; of anything else there are none. Aliases
// are not followed.
func pairs(node *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if node == nil || node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if !yield(node.Content[i], node.Content[i+1]) {
				return
			}
		}
	}
}

// child is the setting of that name, or nil.
func child(node *yaml.Node, name string) *yaml.Node {
	for key, value := range pairs(node) {
		if key.Value == name {
			return value
		}
	}
	return nil
}

// off reports whether a setting says no.
func off(value *yaml.Node) bool {
	switch strings.ToLower(value.Value) {
	case "false", "no", "off":
		return value.Kind == yaml.ScalarNode
	}
	return value.Tag == "!!null"
}
