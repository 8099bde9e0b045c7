// Purpose: the pages, devices and named elements whose boxes and pictures are kept.
export const viewports = { desktop: { width: 1440, height: 810, mobile: false }, mobile: { width: 390, height: 844, mobile: true } }
export const member = { userId: 'M10001', rank: 'Gold', gender: 'female', birth_year: 1984 }
const head = { '#nav-list': '商品一覧へのリンク', '#nav-trial': 'はじめての方へのリンク', '#search': '商品検索', '#nav-login': 'ログイン', '#nav-mypage': 'マイページへのリンク', '#nav-cart': 'カートへのリンク' }

export const places = {
  '/': {
    name: 'トップページ', file: 'top', url: '/', versions: ['A', 'B'],
    elements: { ...head, '#hero': 'ファーストビュー', '#hero-cta': 'ファーストビューのボタン', '#ranking': '人気ランキング', '#concerns': 'お悩みから選ぶ', '#story': 'ブランドストーリー', '#voices': 'お客さまの声', '#coupon-banner': 'クーポンバナー', '#coupon-get': 'クーポンを使うボタン', '#new-items': '新商品' },
  },
  '/list': { name: '商品一覧', file: 'list', url: '/list', versions: ['1'], elements: { ...head, '#list': '商品一覧' } },
  '/item': { name: '商品詳細', file: 'item', url: '/item?id=P03', versions: ['1'], elements: { ...head, '#item-picture': '商品画像', '#add-to-cart': 'カートに入れるボタン', '#about-item': '商品について', '#item-voices': 'お客さまの声', '#related': 'いっしょに使いたい商品' } },
  '/cart': { name: 'カート', file: 'cart', url: '/cart', versions: ['1'], elements: { ...head, '#cart-lines': 'カートの中身', '#cart-sums': 'お支払い金額', '#checkout': 'ご注文手続きへボタン' } },
  '/thanks': { name: 'ご注文完了', file: 'thanks', url: '/thanks', versions: ['1'], elements: { ...head, '#thanks': 'ご注文完了の案内' } },
  '/mypage': { name: 'マイページ', file: 'mypage', url: '/mypage', versions: ['1'], login: true, elements: { ...head, '#mypage-status': 'ランクとポイント', '#mypage-rank': '現在のランク', '#mypage-points': '保有ポイント', '#mypage-coupons': '保有クーポン', '#orders': 'ご注文履歴', '#contract': '定期便のご契約', '#contract-skip': '次回をお休みするボタン', '#contract-change': 'お届け間隔の変更ボタン', '#account': '会員情報' } },
}
