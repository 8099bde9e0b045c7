// Purpose: the numbers of the story: what differs between ranks, what is the same for all, and the calendar.
export const seed = 'sumiha-2026-autumn'
export const ranks = ['Bronze', 'Silver', 'Gold', 'Royal']
export const headcount = { Bronze: 24, Silver: 11, Gold: 10, Royal: 21 } // members per rank on the first day
export const strangers = 52 // visitors who never log in
export const rankChanges = [['Bronze', 'Silver'], ['Bronze', 'Silver'], ['Silver', 'Gold'], ['Gold', 'Royal']] // one member each, in mid-period
export const firstDay = Date.UTC(2026, 8, 20) - 9 * 3600e3 // 2026-09-20 00:00 in Tokyo, a Sunday
export const days = 42 // the last one is 2026-10-31
export const effectB = -0.15 // variant B on the first-view exit of top-page landings, for every rank

// Differs by rank. Landing shares; share that leaves a top-page landing in the first view under A; median seconds of
// hesitation; share that scrolls the top page; share of those that come down to the coupon banner; what they do on my page; where they go next.
export const story = {
  Bronze: { landing: { '/': 0.78, '/mypage': 0.06, '/list': 0.16 }, firstViewExit: 0.6, hesitate: 9, scroll: 0.7, banner: 0.1, coupon: 0.25, contract: 0.1, fromTop: { list: 0.34, item: 0.26, search: 0.08, mypage: 0.07, exit: 0.25 }, fromMypage: { top: 0.25, list: 0.25, exit: 0.5 } },
  Silver: { landing: { '/': 0.62, '/mypage': 0.2, '/list': 0.18 }, firstViewExit: 0.48, hesitate: 6.5, scroll: 0.74, banner: 0.38, coupon: 0.4, contract: 0.16, fromTop: { list: 0.3, item: 0.24, search: 0.09, mypage: 0.15, exit: 0.22 }, fromMypage: { top: 0.3, list: 0.2, exit: 0.5 } },
  Gold: { landing: { '/': 0.45, '/mypage': 0.38, '/list': 0.17 }, firstViewExit: 0.38, hesitate: 5, scroll: 0.78, banner: 0.6, coupon: 0.5, contract: 0.22, fromTop: { list: 0.24, item: 0.2, search: 0.1, mypage: 0.26, exit: 0.2 }, fromMypage: { top: 0.42, list: 0.17, exit: 0.41 } },
  Royal: { landing: { '/': 0.2, '/mypage': 0.66, '/list': 0.14 }, firstViewExit: 0.26, hesitate: 3.2, scroll: 0.84, banner: 0.85, coupon: 0.62, contract: 0.28, fromTop: { list: 0.15, item: 0.17, search: 0.1, mypage: 0.42, exit: 0.16 }, fromMypage: { top: 0.58, list: 0.12, exit: 0.3 } },
  stranger: { landing: { '/': 0.8, '/mypage': 0, '/list': 0.2 }, firstViewExit: 0.62, hesitate: 8, scroll: 0.7, banner: 0.15, coupon: 0, contract: 0, fromTop: { list: 0.36, item: 0.3, search: 0.09, mypage: 0, exit: 0.25 }, fromMypage: { exit: 1 } },
}

// The same for everybody.
export const common = {
  evening: 0.45, weekendWeight: 1.35, mobile: 0.6, addAfterItem: 0.38, buyAfterAdd: 0.55, bannerClick: 0.2, listStill: 0.25,
  source: { direct: 0.5, line: 0.3, google: 0.2 }, login: { cookie: 0.7, late: 0.15, never: 0.15 },
  fromList: { item: 0.66, top: 0.06, mypage: 0.06, exit: 0.22 }, fromItem: { list: 0.28, mypage: 0.08, exit: 0.64 }, fromCart: { list: 0.15, exit: 0.85 },
}
export const campaigns = ['autumn_coupon', 'new_gel', 'weekend_points']
export const words = ['化粧水', '美容液', 'クリーム', '日焼け止め', 'リップ']
export const screens = { desktop: [[1280, 720], [1440, 810], [1536, 730]], mobile: [[360, 740], [375, 667], [390, 844], [393, 851], [412, 915]] }
export const latency = 0.6 // seconds from a click on a link to the next page
