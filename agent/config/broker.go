package config

import (
	"cmp"
	"errors"
	"net"
	"net/url"
	"strings"
)

// broker is how the original file names the one broker, part by part, and what
// all brokers have in common.
type broker struct {
	list                                  []string // whole URLs; they win
	host, port, username, password, vhost string
	ca, cert, key, serverName             string // for TLS
}

// urls are the brokers as URLs, which hold everything that it takes to connect.
func (b broker) urls() ([]string, error) {
	if len(b.list) == 0 && b.host != "" {
		b.list = []string{b.url()}
	}
	secure := b.secure()
	if len(secure) == 0 {
		return b.list, nil
	}
	var all []string
	var err error
	for _, one := range b.list {
		u, bad := url.Parse(one)
		if bad != nil || u.Scheme != "amqps" {
			err = errors.New("[RABBITMQ] ca, cert, key and server_name are for amqps:// URLs, and one begins with amqp://")
			all = append(all, one)
			continue
		}
		u.RawQuery = merge(secure, u.Query()).Encode()
		all = append(all, u.String())
	}
	if (b.cert == "") != (b.key == "") {
		err = errors.Join(err, errors.New("[RABBITMQ] cert and key go together: one of them is missing"))
	}
	return all, err
}

// url is the broker that the parts name. With anything about TLS it is one
// that is reached so.
func (b broker) url() string {
	scheme, port := "amqp", "5672"
	if len(b.secure()) > 0 {
		scheme, port = "amqps", "5671"
	}
	host := net.JoinHostPort(strings.Trim(b.host, "[]"), cmp.Or(b.port, port))
	u := url.URL{Scheme: scheme, Host: host, Path: "/" + b.vhost, RawPath: "/" + url.PathEscape(b.vhost)}
	if b.username != "" {
		u.User = url.UserPassword(b.username, b.password)
	}
	return u.String()
}

// secure are the settings about TLS as a broker's URL has them
// (https://www.rabbitmq.com/docs/uri-query-parameters).
func (b broker) secure() url.Values {
	v := make(url.Values)
	for key, value := range map[string]string{"cacertfile": b.ca, "certfile": b.cert, "keyfile": b.key, "server_name_indication": b.serverName} {
		if value != "" {
			v.Set(key, value)
		}
	}
	return v
}

// merge is all values, of which those of own win.
func merge(all, own url.Values) url.Values {
	m := make(url.Values)
	for _, from := range []url.Values{all, own} {
		for key, values := range from {
			m[key] = values
		}
	}
	return m
}
