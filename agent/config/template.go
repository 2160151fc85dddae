package config

import _ "embed"

//go:embed natrix.ini
var template string

// Template is the text of a configuration file that names every setting, each
// with its default or an example, in comments: as it is, it sets nothing.
func Template() string { return template }
