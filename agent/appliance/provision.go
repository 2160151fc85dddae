package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// NetworkConfig is the file with what the network said to be configured with:
// a lease's option 224, which is the URL of a broker, or of a file like
// natrix.ini. Everybody on a network can say that, so every other
// configuration wins over it.
const NetworkConfig = "/run/natrix/network.ini"

// maxConfig is the size of a file that is taken, in bytes.
const maxConfig = 64 << 10

// provision keeps file as the last lease's offer wants it, until ctx ends, and
// calls changed whenever it has another content.
func provision(ctx context.Context, offers <-chan string, file string, changed func() error, log *slog.Logger) {
	var again <-chan time.Time
	offer := ""
	for {
		select {
		case offer = <-offers:
		case <-again:
		case <-ctx.Done():
			return
		}
		again = nil
		content, err := configOf(ctx, offer)
		if err != nil {
			log.Warn("configuration of the network", "err", err)
			again = time.After(30 * time.Second)
			continue
		}
		if old, err := os.ReadFile(file); err == nil && string(old) == content {
			continue
		}
		if err := renameio.WriteFile(file, []byte(content), 0o600); err != nil {
			log.Error("keep configuration of the network", "err", err)
			continue
		}
		log.Info("configuration of the network", "file", file)
		if err := changed(); err != nil {
			log.Error("restart the agent", "err", err)
		}
	}
}

// configOf is the text of the configuration that a lease offers.
func configOf(ctx context.Context, offer string) (string, error) {
	switch scheme, _, _ := strings.Cut(offer, "://"); scheme {
	case "amqp", "amqps":
		if strings.ContainsAny(offer, "\r\n") {
			return "", errors.New("option 224 holds more than one line")
		}
		return "[RABBITMQ]\nurl = " + offer + "\n", nil
	case "http", "https":
		return fetchConfig(ctx, offer)
	}
	return "", fmt.Errorf("option 224 is %.60q: want a URL with amqp, amqps, http or https", offer)
}

func fetchConfig(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", url, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxConfig+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", url, err)
	}
	if len(body) > maxConfig {
		return "", fmt.Errorf("%s: more than %d bytes", url, maxConfig)
	}
	return string(body), nil
}
