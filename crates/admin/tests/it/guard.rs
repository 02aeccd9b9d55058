//! Web pages are kept away.

use crate::desk::Desk;

const JSON: &str = "content-type: application/json\r\n";

#[tokio::test]
async fn only_loopback_names_are_answered() {
    let desk = Desk::open().await;
    for host in ["localhost", "LOCALHOST:8081", "127.0.0.1", "127.9.9.9:1", "[::1]:8081", "localhost.:80"] {
        let reply =
            desk.raw(&format!("GET /livez HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
        assert_eq!(reply.status, 200, "{host}");
    }
    for hosts in [
        "host: evil.example\r\n",
        "host: localhost.evil.example\r\n",
        "host: 10.0.0.1\r\n",
        "host: 0.0.0.0\r\n",
        "host: user@evil.example\r\n",
        "host: \r\n",
        "",
        "host: localhost\r\nhost: evil.example\r\n",
        "host: evil.example\r\nhost: localhost\r\n",
    ] {
        let reply = desk.raw(&format!("GET /livez HTTP/1.1\r\n{hosts}connection: close\r\n\r\n")).await;
        assert_eq!(
            reply.refused(421, "host-not-loopback"),
            "The request is not addressed to this machine itself."
        );
    }
    let absolute = "GET http://evil.example/livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    desk.raw(absolute).await.refused(421, "host-not-loopback");
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let desk = Desk::open().await;
    for header in [
        "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\n",
        "origin: http://evil.example\r\n",
        "origin: null\r\n",
        "origin: http://localhost:3000\r\n",
    ] {
        let reply = desk.post_with("/api/reload", &format!("{JSON}{header}"), "{}").await;
        reply.refused(403, "cross-site");
    }
    let own = format!("origin: http://{}\r\n", desk.address);
    for header in ["sec-fetch-site: same-origin\r\n", "sec-fetch-site: none\r\n", &own, ""] {
        let reply = desk.post_with("/api/reload", &format!("{JSON}{header}"), "{}").await;
        assert_eq!(reply.status, 200, "{header}");
    }
}

#[tokio::test]
async fn a_plain_form_changes_nothing() {
    let desk = Desk::open().await;
    for kind in ["", "content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n"] {
        desk.post_with("/api/reload", kind, "{}").await.refused(415, "content-type-not-json");
    }
    let charset = "content-type: application/json; charset=utf-8\r\n";
    assert_eq!(desk.post_with("/api/reload", charset, "").await.status, 200);
}

#[tokio::test]
async fn nothing_is_kept_by_a_cache() {
    let desk = Desk::open().await;
    for path in ["/livez", "/api/counts", "/nothing"] {
        let reply = desk.get(path).await;
        assert!(reply.head.contains("cache-control: no-store\r\n"), "{path}");
        assert!(reply.head.contains("x-content-type-options: nosniff\r\n"), "{path}");
    }
}
