//! Every route, enumerated: nobody without the right token gets past a gate.

use super::*;
use crate::keys::Keys;
use crate::settings::Settings;
use crate::verify::Verifiers;
use crate::{InitOptions, admin_token, init};
use axum::http::Request as HttpRequest;
use claims::UnixTime;
use claims::kbs::ErrorInformation;
use tower::ServiceExt;

struct Started {
    app: Arc<App>,
    admin_key: Vec<u8>,
    _place: tempfile::TempDir,
}

async fn started() -> Started {
    let place = tempfile::tempdir().unwrap();
    let facts = init(&place.path().join("broker"), &InitOptions::default()).unwrap();
    let settings = Settings::load(&facts.settings).unwrap();
    let keys = Keys::load(&settings.folder, &settings).unwrap();
    let app = App::start(settings, &keys, Verifiers::default()).await.unwrap();
    Started { app, admin_key: std::fs::read(&facts.admin_key).unwrap(), _place: place }
}

/// Status and code of a call without body.
async fn call(router: &Router, route: Route, token: Option<&str>) -> (u16, String) {
    let path = route.path.replace("{*path}", "a/b/c").replace("{*id}", "x").replace("{id}", &"0".repeat(64));
    let mut request = HttpRequest::builder().method(route.method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let error = serde_json::from_slice::<ErrorInformation>(&body).ok();
    (status, error.map(|error| error.detail.split(':').next().unwrap().to_owned()).unwrap_or_default())
}

#[tokio::test]
async fn every_route_for_administrators_refuses_everybody_else() {
    let started = started().await;
    let (router, list) = routes(Arc::clone(&started.app));
    let now = started.app.clock.now();
    let sign = |role: &str, at: UnixTime| admin_token(&started.admin_key, role, at, 7200).unwrap();
    let other_place = tempfile::tempdir().unwrap();
    let other = init(&other_place.path().join("broker"), &InitOptions::default()).unwrap();
    let foreign = admin_token(&std::fs::read(other.admin_key).unwrap(), "admin", now, 600).unwrap();
    let (admin, auditor) = (sign("admin", now), sign("auditor", now));
    let bad = [
        None,
        Some(""),
        Some("x.y.z"),
        Some(foreign.as_str()),
        Some(&sign("admin", UnixTime(now.0 - 7200))),
        Some(&sign("admin", UnixTime(now.0 + 3600))),
        Some(&sign("guest", now)),
    ]
    .map(|token| token.map(str::to_owned));
    let refused = (401, "E-ADMIN".to_owned());
    let guarded = |access| matches!(access, Access::Auditor | Access::Administrator);
    assert!(list.iter().filter(|route| guarded(route.access)).count() >= 18, "{list:?}");
    for route in list.iter().copied().filter(|route| guarded(route.access)) {
        for token in &bad {
            assert_eq!(call(&router, route, token.as_deref()).await, refused, "{route:?} {token:?}");
        }
        assert_ne!(call(&router, route, Some(&admin)).await, refused, "{route:?}");
        let looked = call(&router, route, Some(&auditor)).await;
        assert_eq!(looked == refused, route.access == Access::Administrator, "{route:?}");
    }
    // What is left is known by name: a new open route must be added here on purpose.
    let open: Vec<_> = list.iter().filter(|route| !guarded(route.access)).map(|route| route.path).collect();
    let wanted = [
        "/healthz",
        "/readyz",
        "/metrics",
        "/.well-known/jwks.json",
        "/kbs/v0/auth",
        "/kbs/v0/attest",
        "/kbs/v0/resource/{*path}",
        "/confide/v0/receipts/{id}",
        "/openapi.json",
    ];
    assert_eq!(open, wanted);
}

#[tokio::test]
async fn the_reference_page_names_every_route() {
    let started = started().await;
    let (_, list) = routes(Arc::clone(&started.app));
    let page = include_str!("../../../../docs/manual/reference/broker-api.md");
    for route in list {
        let path = route.path.replace("{*", "{");
        assert!(page.contains(&format!("`{} {path}`", route.method)), "the page lacks `{} {path}`", route.method);
    }
}

#[tokio::test]
async fn the_openapi_document_has_every_route_and_says_who_may_call_it() {
    let started = started().await;
    let (router, list) = routes(Arc::clone(&started.app));
    let request = HttpRequest::builder().uri("/openapi.json").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["openapi"], "3.0.3");
    let mut names = std::collections::BTreeSet::new();
    for route in &list {
        let path = openapi::described(route.path);
        let operation = &document["paths"][&path][route.method.to_lowercase()];
        assert!(operation.is_object(), "{route:?}");
        assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{operation}");
        assert_eq!(operation["security"] == serde_json::json!([]), route.access == Access::Public, "{route:?}");
        let parameters = operation["parameters"].as_array().unwrap();
        let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
        assert_eq!(in_path, path.matches('{').count(), "{route:?}");
        for scheme in operation["security"].as_array().unwrap().iter().flat_map(|one| one.as_object().unwrap().keys()) {
            assert!(document["components"]["securitySchemes"][scheme].is_object(), "{scheme}");
        }
    }
    let described: usize =
        document["paths"].as_object().unwrap().values().map(|at| at.as_object().unwrap().len()).sum();
    assert_eq!(described, list.len(), "nothing is described that is not served");
    // Every schema that is named is there.
    let text = document.to_string();
    for (place, _) in text.match_indices("#/components/schemas/") {
        let name: String = text[place + 21..].chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(document["components"]["schemas"][&name].is_object(), "{name}");
    }
}

#[tokio::test]
async fn a_walk_over_the_log_may_take_its_time_for_one_auditor() {
    let started = started().await;
    let (router, _) = routes(Arc::clone(&started.app));
    let auditor = admin_token(&started.admin_key, "auditor", started.app.clock.now(), 600).unwrap();
    let ask = async |token: &str| {
        let unhurried = Unhurried::default();
        let request = HttpRequest::builder().uri("/confide/v0/audit/verify").extension(unhurried.clone());
        let request = request.header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
        (router.clone().oneshot(request).await.unwrap().status().as_u16(), unhurried.is_claimed())
    };
    assert_eq!(ask(&auditor).await, (200, true));
    assert_eq!(ask("x.y.z").await, (401, false));
    let elsewhere = started.app.walks.acquire().await.unwrap();
    assert_eq!(ask(&auditor).await, (503, false));
    drop(elsewhere);
    assert_eq!(ask(&auditor).await, (200, true));
    // For a caller who has gone away it ends at once.
    let log = Arc::clone(&started.app.store.audit);
    let walk = move |connection: &_| log.reader().verify(connection, &crate::ledger::Kept::default(), &|| false);
    let ended = started.app.store.read(walk).await;
    assert!(matches!(ended, Err(crate::store::StoreError::Closed)), "{ended:?}");
}

#[tokio::test]
async fn an_admin_token_that_lives_too_long_is_refused() {
    use base64::Engine;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject;
    let started = started().await;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&started.admin_key).unwrap();
    let key = EncodingKey::from_ed_der(key.secret_pkcs8_der());
    let now = started.app.clock.now();
    let admit = |claims: serde_json::Value| {
        let token = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        started.app.gate.admit(&headers, Scope::Change, now).map(|admin| admin.name().to_owned())
    };
    // The older form without a role, as upstream's client signs it.
    assert_eq!(admit(serde_json::json!({"iat": now.0, "exp": now.0 + 7200})), Ok("admin".into()));
    assert!(admit(serde_json::json!({"iat": now.0, "exp": now.0 + 7201})).is_err());
    assert!(admit(serde_json::json!({"exp": now.0 + 60})).is_err());
    let none = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let token = format!("{}.{}.", none.encode(r#"{"alg":"none"}"#), none.encode(r#"{"iat":0,"exp":9999999999}"#));
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    assert!(started.app.gate.admit(&headers, Scope::Look, now).is_err());
}
