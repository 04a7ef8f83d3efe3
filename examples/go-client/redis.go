package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Redis speaks RESP2 over one connection: the little of it that publishing needs.
type Redis struct {
	connection net.Conn
	reader     *bufio.Reader
}

// ErrorReply is what Redis answers to a command that it refuses.
type ErrorReply string

func (reply ErrorReply) Error() string { return string(reply) }

// Dial connects to redis://[user:password@]host:port[/0].
func Dial(address string) (*Redis, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Scheme != "redis" || parsed.Port() == "" || strings.Trim(parsed.Path, "/0") != "" {
		return nil, errors.New("the address has not the form redis://user:password@host:port")
	}
	connection, err := net.DialTimeout("tcp", parsed.Host, 5*time.Second)
	if err != nil {
		return nil, err
	}
	redis := &Redis{connection, bufio.NewReader(connection)}
	if password, given := parsed.User.Password(); given {
		user := parsed.User.Username()
		if user == "" {
			user = "default"
		}
		if _, err := redis.Do("AUTH", user, password); err != nil {
			return nil, err
		}
	}
	return redis, nil
}

// Do sends a command and reads its answer: nil, string, int64, or []any of these.
func (redis *Redis) Do(words ...string) (any, error) {
	request := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		request += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	if err := redis.connection.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(redis.connection, request); err != nil {
		return nil, err
	}
	return redis.read()
}

func (redis *Redis) read() (any, error) {
	line, err := redis.reader.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if len(line) < 3 {
		return nil, errors.New("Redis sent an empty answer")
	}
	kind, rest := line[0], line[1:len(line)-2]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, ErrorReply(rest)
	}
	number, err := strconv.ParseInt(rest, 10, 64)
	switch {
	case err != nil:
		return nil, err
	case kind == ':':
		return number, nil
	case number < 0:
		return nil, nil
	case kind == '$':
		bulk := make([]byte, number+2)
		_, err := io.ReadFull(redis.reader, bulk)
		return string(bulk[:number]), err
	case kind == '*':
		items := make([]any, number)
		for index := range items {
			if items[index], err = redis.read(); err != nil {
				return nil, err
			}
		}
		return items, nil
	}
	return nil, fmt.Errorf("Redis sent an answer of an unknown kind: %q", kind)
}
